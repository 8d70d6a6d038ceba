"""Groups of processes with a real gloo group, which call functions of test modules."""

from __future__ import annotations

import multiprocessing
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist

SECONDS = 120
"""How long a call may take at most: processes that wait for each other are an error."""


class Group:
    """Several processes, which call a function at the same time.

    Args:
        pipes: to the processes, by rank.
        processes: the processes, by rank.
    """

    def __init__(self, pipes: list[Connection], processes: list[Any]) -> None:
        self._pipes, self._processes = pipes, processes

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> list[Any]:
        """What ``function(rank, …)`` returns in each process, or the exception that it raises; "died" of one that has died."""
        for pipe in self._pipes:
            pipe.send((function, args, options))
        return [self._answer(rank, pipe) for rank, pipe in enumerate(self._pipes)]

    def _answer(self, rank: int, pipe: Connection) -> Any:
        assert pipe.poll(SECONDS), f"rank {rank} waits for ever"
        try:
            return pipe.recv()
        except EOFError:
            return "died"


@contextmanager
def group_of(size: int) -> Iterator[Group]:
    """Start a group of so many processes, and end them."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for rank in range(size):
        here, there = spawn.Pipe()
        process = spawn.Process(target=_serve, args=(rank, size, port, there), daemon=True)
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        yield Group(pipes, processes)
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(10)
            process.kill()


def _serve(rank: int, size: int, port: int, pipe: Connection) -> None:
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=size)
    while True:
        try:
            function, args, options = pipe.recv()
        except EOFError:
            break
        try:
            answer = function(rank, *args, **options)
        except Exception as error:
            answer = error
        pipe.send(answer)
    dist.destroy_process_group()
