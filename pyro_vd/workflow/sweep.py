"""Several runs of a sweep at the same time, each in a process of its own: a run that fails does not affect the others."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from multiprocessing import connection, forkserver, get_all_start_methods, get_context
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING, Any

from pyro_vd._core.ending import end_process
from pyro_vd._core.errors import InputError, NonFiniteError
from pyro_vd._core.messages import one_line
from pyro_vd.workflow.named_networks import trust, trusted
from pyro_vd.workflow.settings import SweepRun

if TYPE_CHECKING:
    from pyro_vd.workflow.shared_sweep import Claim, SharedSweep

# A server that has imported all that a run needs, and nothing else, is forked for every run. Windows has none.
_CONTEXT: Any = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
_IMPORTED = ["pyro_vd.workflow.training_run", "sklearn.datasets", "sklearn.metrics"]
_TICK = 0.5  # seconds
_DEATHS = 2  # of the process of a run, before the run has failed
_PATIENCE = 60.0  # seconds; the process of a run ends well before, when it is terminated or its parent has ended


def run_sweep(
    sweep: SharedSweep,
    jobs: int,
    stops: bool = False,
    on_tick: Callable[[Mapping[str, SweepRun]], None] = lambda running: None,
    on_end: Callable[[str, str], None] = lambda name, what: None,
) -> None:
    """Carry out the runs of a sweep until all are done, here or by others who share it.

    A run that was stopped goes on from its last epoch. A run whose process was killed is taken up again once.

    Args:
        sweep: gives the runs.
        jobs: how many processes run at the same time.
        stops: stop the runs of hopeless settings.
        on_tick: called about twice per second, with the runs in progress here.
        on_end: called at the end of each run, with its name and what has become of it.
    """
    workers: dict[str, _Worker] = {}
    deaths: Counter[str] = Counter()
    try:
        while True:
            while len(workers) < jobs and (claim := sweep.take()):
                workers[claim.name] = worker = _Worker(claim, stops)
                worker.start()
            on_tick({name: worker.claim.run for name, worker in workers.items()})
            if not workers and not sweep.in_progress():
                break
            connection.wait([end for worker in workers.values() for end in worker.waited_for()], timeout=_TICK)
            for worker in workers.values():
                worker.answer(sweep)
            for name in [name for name, worker in workers.items() if not worker.process.is_alive()]:
                worker = workers.pop(name)
                worker.answer(sweep)
                on_end(name, _ended(sweep, worker, deaths))
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.wait()
            sweep.give_back(worker.claim)


def _ended(sweep: SharedSweep, worker: _Worker, deaths: Counter[str]) -> str:
    """Give the run of a worker that has ended back, and say what has become of it."""
    claim, error = worker.claim, worker.error
    if error is None and not worker.stopped and (killed := worker.killed_by()):
        deaths[claim.name] += 1
        if deaths[claim.name] < _DEATHS:
            sweep.give_back(claim)
            return f"{killed}; it is taken up again"
        error = f"{killed}, {deaths[claim.name]} times"
    sweep.give_back(claim, error)
    return f"failed: {error}" if error else f"stopped: {worker.stopped}" if worker.stopped else "finished"


class _Worker:
    """A process for one run. It ends when it is terminated or when its parent has ended; Ctrl-C does not end it."""

    def __init__(self, claim: Claim, stops: bool) -> None:
        self.claim = claim
        self.error: str | None = None
        self.stopped = ""
        self._messages: Connection | None
        self._messages, self._theirs = _CONTEXT.Pipe()
        self._watched, self._alive = _CONTEXT.Pipe(duplex=False)  # closed when this process ends
        self.process = _CONTEXT.Process(target=_work, args=(claim.run, self._theirs, self._watched, trusted(), stops))

    def start(self) -> None:
        """Start the process; the first one waits until the server has imported what it needs."""
        if _CONTEXT.get_start_method() == "forkserver":
            _CONTEXT.set_forkserver_preload(_IMPORTED)
            heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a new process goes on ignoring what its parent ignored
            try:
                forkserver.ensure_running()
            finally:
                signal.signal(signal.SIGINT, heeded)
        self.process.start()
        self._theirs.close()
        self._watched.close()

    def terminate(self) -> None:
        """Have the process end, also where it has been started but is not known, because ``start`` was interrupted."""
        self._alive.close()
        if self.process.pid is not None:
            self.process.terminate()

    def wait(self) -> None:
        """Wait until the process, which was terminated, has ended; kill one that hangs."""
        if self.process.pid is None:
            return
        self.process.join(_PATIENCE)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()

    def waited_for(self) -> list[Any]:
        """What becomes ready when the process has said something, or has ended."""
        return [self.process.sentinel, *([self._messages] if self._messages else [])]

    def answer(self, sweep: SharedSweep) -> None:
        """Take what the process has said, and answer its questions."""
        try:
            while self._messages and self._messages.poll():
                kind, *content = self._messages.recv()
                if kind == "score":
                    self._messages.send(sweep.is_hopeless(self.claim, *content))
                elif kind == "stopped":
                    (self.stopped,) = content
                else:
                    (self.error,) = content
        except (EOFError, OSError):  # it has ended
            assert self._messages is not None
            self._messages.close()
            self._messages = None

    def killed_by(self) -> str | None:
        """What ended the process; None if it has come to its own end."""
        self.process.join()
        code = self.process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"its process was ended by {how}" if code else None


def _work(run: SweepRun, messages: Connection, parent: Connection, packages: tuple[str, ...], stops: bool) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        end_process(128 + number)

    def watch_parent() -> None:
        connection.wait([parent])
        os.kill(os.getpid(), signal.SIGTERM)

    def ask(tenths: int, score: float) -> bool:
        messages.send(("score", tenths, score))
        return bool(messages.recv())

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where processes are started in another way than by the server
    threading.Thread(target=watch_parent, daemon=True).start()
    from pyro_vd.workflow.hopeless import HopelessError, StopWhereHopeless
    from pyro_vd.workflow.run_folder import mark_stopped

    try:
        from pyro_vd.workflow.training_run import train_run

        trust(*packages)
        callbacks = [StopWhereHopeless(ask)] if stops else []
        # Where the process that had it before was killed, its own process may need a moment to end.
        train_run(run.recipe, run.folder, resume=True, progress=False, callbacks=callbacks, wait=_PATIENCE)
    except HopelessError as stopped:
        mark_stopped(run.folder, str(stopped))
        messages.send(("stopped", str(stopped)))
    except (InputError, NonFiniteError, OSError) as error:
        messages.send(("failed", one_line(error)))
    except Exception as error:
        messages.send(("failed", f"{type(error).__name__}: {one_line(error)}"))
        raise
