"""The lock of what is one for the whole process: Pyro's effect handlers, torch's generators, the modes of shared networks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """Let one thread at a time run code that changes the mode of networks, runs them under effect handlers, or exports them.

    It can also be used as a decorator, ``@alone()``. A thread may enter it again while it is inside.
    """
    with _lock:
        yield
