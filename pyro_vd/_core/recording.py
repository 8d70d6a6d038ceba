"""Whether this thread records its tensor operations into a graph, which must not contain parts, buffers or watches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_local = threading.local()


@contextmanager
def recording() -> Iterator[None]:
    """Say that all tensor operations inside are recorded."""
    _local.depth = getattr(_local, "depth", 0) + 1
    try:
        yield
    finally:
        _local.depth -= 1


def is_recording() -> bool:
    """Whether this thread is inside :func:`recording`."""
    return getattr(_local, "depth", 0) > 0
