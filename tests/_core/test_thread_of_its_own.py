"""A thread that works for its caller, which waits, counts as the caller; all others wait for both."""

from __future__ import annotations

import contextvars
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pyro_vd._core.threads import alone, in_thread_of_its_own

WAIT = 30.0  # seconds, after which a test fails instead of waiting for ever


def test_it_may_enter_where_the_waiting_thread_is_inside() -> None:
    entered = []

    def compute() -> None:
        with alone():
            entered.append(threading.get_ident())

    def caller() -> None:
        with alone(), alone():
            in_thread_of_its_own(compute)
        in_thread_of_its_own(compute)

    thread = threading.Thread(target=caller, daemon=True)  # a lock that is never free must fail this test alone
    thread.start()
    thread.join(WAIT)
    assert len(entered) == 2
    assert thread.ident not in entered


def test_another_thread_waits_for_both() -> None:
    order: list[str] = []
    begun = threading.Event()

    def other() -> None:
        assert begun.wait(WAIT)
        with alone():
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()

    def compute() -> None:
        with alone():
            begun.set()
        time.sleep(0.1)  # the other one would enter now
        order.append("compute")

    in_thread_of_its_own(compute)
    thread.join(WAIT)
    assert order == ["compute", "other"]


def test_context_variables_are_those_of_the_caller() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    variable.set("the caller's")
    found: list[str] = []
    in_thread_of_its_own(lambda: found.append(variable.get()))
    assert found == ["the caller's"]


def test_an_error_is_raised_in_the_caller_and_leaves_the_lock_free() -> None:
    with pytest.raises(ZeroDivisionError):
        in_thread_of_its_own(lambda: 1 / 0)
    thread = threading.Thread(target=in_thread_of_its_own, args=(list,), daemon=True)
    thread.start()
    thread.join(WAIT)
    assert not thread.is_alive()


def test_an_interruption_waits_for_the_end() -> None:
    ended: list[bool] = []

    def compute() -> None:
        time.sleep(0.2)  # the caller waits now
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        ended.append(True)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            in_thread_of_its_own(compute)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [True]


LATE = """
import threading
from pyro_vd._core.threads import in_thread_of_its_own
def job():
    threading.main_thread().join()
    in_thread_of_its_own(lambda: print("computed"))
threading.Thread(target=job).start()
"""


def test_after_the_main_thread_has_ended() -> None:
    ended = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, timeout=WAIT, check=False)
    assert (ended.stdout, ended.stderr) == ("computed\n", "")
