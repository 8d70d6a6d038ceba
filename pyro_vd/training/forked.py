"""Training in a forked process, which has the memory of its parent but not its threads."""

from __future__ import annotations

import multiprocessing
import os

import torch

from pyro_vd._core.errors import InputError

_forked: list[int] = []
"""The id of this process, if it was forked after this module was imported."""

os.register_at_fork(after_in_child=lambda: _forked.append(os.getpid()))


def check_process() -> None:
    """Refuse to train in a forked process that could wait forever for the threads of its parent.

    Raises:
        InputError: saying how to start a process that can train.
    """
    if not _forked and type(multiprocessing.current_process()).__name__ != "ForkProcess":
        return
    instead = "start the process with multiprocessing.get_context('spawn')"
    if (threads := torch.get_num_threads()) > 1:
        raise InputError(
            f"this process was forked and has {threads} threads of torch, which may wait forever for those of its parent; "
            f"call torch.set_num_threads(1) in it first, or {instead}",
            name="threads",
            value=threads,
            allowed="1",
        )
    try:
        torch.zeros(1, requires_grad=True).sum().backward()
    except RuntimeError as error:
        raise InputError(
            f"this process was forked from one that has trained on a GPU, and cannot train; {instead}", name="process"
        ) from error
