"""The lock of what is one for the whole process: Pyro's effect handlers, torch's generators, the modes of shared networks."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

_lock = threading.RLock()
_lent = threading.local()


@contextmanager
def alone() -> Iterator[None]:
    """Let one thread at a time run code that changes the mode of networks, runs them under effect handlers, or exports them.

    It can also be used as a decorator, ``@alone()``. A thread may enter it again while it is inside.
    """
    if getattr(_lent, "by_waiting_thread", False):
        yield
        return
    with _lock:
        yield


@alone()
def in_thread_of_its_own(compute: Callable[[], object], prepare: Callable[[], object]) -> None:
    """Run ``prepare``, then ``compute``, in a new thread that counts as this one for :func:`alone`, and wait for it.

    An error in ``compute`` is raised here. An interruption by Ctrl-C is raised when ``compute`` has ended.
    """

    def begin() -> None:
        _lent.by_waiting_thread = True
        prepare()

    with ThreadPoolExecutor(1, initializer=begin) as thread:
        thread.submit(contextvars.copy_context().run, compute).result()
