"""The lock of what is one for the whole process: Pyro's effect handlers, torch's generators, the modes of shared networks."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Iterator
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
def in_thread_of_its_own(compute: Callable[[], object]) -> None:
    """Run ``compute`` in a new thread that counts as this one for :func:`alone`, and wait for it.

    An error in ``compute`` is raised here. Ctrl-C raises KeyboardInterrupt when ``compute`` has ended; pressed again, at once.
    """
    context, errors, ended = contextvars.copy_context(), list[BaseException](), threading.Event()

    def run() -> None:
        _lent.by_waiting_thread = True
        try:
            context.run(compute)
        except BaseException as error:
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=run).start()  # concurrent.futures starts none once the main thread has ended
    try:
        ended.wait()  # after Ctrl-C, Thread.join of Python 3.11 takes a thread that runs for one that has ended
    finally:
        ended.wait()
    if errors:
        raise errors.pop()  # the frames in its traceback must not hold it
