"""The processes that torchrun has started for one command, as a group while it runs."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist

from pyro_vd._core.ending import end_process
from pyro_vd._core.errors import InputError
from pyro_vd._core.launched import launched
from pyro_vd._core.messages import one_line
from pyro_vd.training.processes import Processes, processes_here


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun has started, with gloo, and with NCCL on GPUs, of which each process takes its own.

    The messages of other ranks than 0 are silenced. Where torchrun ends the processes because one of them has died, each says
    so. A process that was started alone stays alone.

    Args:
        device: on which is trained, such as "cpu" or "cuda".

    Raises:
        InputError: there are fewer GPUs than processes on this machine, or the processes do not find each other.
    """
    if launched() == 1:
        yield processes_here()
        return
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        _take_gpu()
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"{launched()} processes were started (WORLD_SIZE), which do not find each other: {one_line(error)}; start them "
            "with torchrun",
            name="WORLD_SIZE",
            value=launched(),
        ) from error
    processes = processes_here()
    if not processes.is_first:
        logging.getLogger("pyro_vd").setLevel(logging.ERROR)
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield processes
    finally:
        signal.signal(signal.SIGTERM, before)
        dist.destroy_process_group()


def _take_gpu() -> None:
    """Make the GPU of this process the current one."""
    number, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= found:
        raise InputError(
            f"this is process {number + 1} on this machine, which has {found} GPUs; every process needs one of its own: take "
            f"--nproc_per_node={found}, or train with --device cpu",
            name="nproc_per_node",
            value=number + 1,
            allowed=f"at most {found}, the number of GPUs",
        )
    torch.cuda.set_device(number)


def _end(number: int, frame: FrameType | None) -> None:
    rank = dist.get_rank() if dist.is_initialized() else 0
    end_process(
        128 + number,
        f"rank {rank} was told to end (SIGTERM), as torchrun does when another process has failed; --resume goes on from the "
        "last epoch",
    )
