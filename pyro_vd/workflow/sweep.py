"""Several runs at the same time, each in a process of its own: a run that fails does not affect the others."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import connection, get_all_start_methods, get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

from pyro_vd._core.errors import InputError, NonFiniteError
from pyro_vd._core.messages import one_line
from pyro_vd.workflow.named_networks import trust, trusted
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.run_folder import LOG, METRICS, check_run_dir

# A server that has imported all that a run needs, and nothing else, is forked for every run. Windows has none.
_CONTEXT: Any = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
_IMPORTED = ["pyro_vd.workflow.training_run", "sklearn.datasets", "sklearn.metrics", "torchmetrics.functional.classification"]


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep: its folder and its recipe."""

    folder: Path
    recipe: Recipe

    @property
    def is_finished(self) -> bool:
        return (self.folder / METRICS).exists()

    @property
    def epochs(self) -> int:
        """The number of epochs of all phases together."""
        return self.recipe.pretrain.epochs + self.recipe.train.epochs + self.recipe.finetune.epochs

    def check(self) -> None:
        """Make sure that the folder, where it exists, holds a run of the same recipe.

        Raises:
            InputError: it holds a run of another recipe, or something else.
        """
        if self.folder.exists():
            check_run_dir(self.folder, self.recipe, resume=True)

    def epochs_done(self) -> int:
        """The number of epochs that are recorded in its log."""
        try:
            return (self.folder / LOG).read_bytes().count(b"\n")
        except OSError:
            return 0


def run_sweep(
    runs: Mapping[str, SweepRun],
    jobs: int,
    on_tick: Callable[[Mapping[str, SweepRun]], None] = lambda running: None,
    on_end: Callable[[str, str | None], None] = lambda name, error: None,
) -> dict[str, str]:
    """Carry out all runs that are not finished. A run that was stopped goes on from its last epoch.

    Args:
        runs: the runs by name.
        jobs: how many processes run at the same time.
        on_tick: called about twice per second, with the runs in progress.
        on_end: called at the end of each run, with its name and the reason of its failure, None where it did not fail.

    Returns:
        The reasons of failure by name, in the order of ``runs``.
    """
    waiting = [name for name, run in runs.items() if not run.is_finished]
    workers: dict[str, _Worker] = {}
    errors: dict[str, str] = {}
    try:
        while waiting or workers:
            while waiting and len(workers) < jobs:
                name = waiting.pop(0)
                workers[name] = _Worker(runs[name])
            connection.wait([worker.process.sentinel for worker in workers.values()], timeout=0.5)
            for name in [name for name, worker in workers.items() if not worker.process.is_alive()]:
                error = workers.pop(name).error()
                if error is not None:
                    errors[name] = error
                on_end(name, error)
            on_tick({name: runs[name] for name in workers})
    finally:
        for worker in workers.values():
            worker.process.terminate()
        for worker in workers.values():
            worker.process.join()
    return {name: errors[name] for name in runs if name in errors}


class _Worker:
    """A process for one run. It ends when it is terminated or when its parent has ended; Ctrl-C does not end it."""

    def __init__(self, run: SweepRun) -> None:
        _CONTEXT.set_forkserver_preload(_IMPORTED)
        self._messages, writer = _CONTEXT.Pipe(duplex=False)
        self.process = _CONTEXT.Process(target=_work, args=(run, writer, trusted()))
        heeded = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a new process goes on ignoring what its parent ignored
        try:
            self.process.start()
        finally:
            signal.signal(signal.SIGINT, heeded)
        writer.close()

    def error(self) -> str | None:
        """The reason of its failure; None if it did not fail."""
        self.process.join()
        try:
            return str(self._messages.recv())
        except EOFError:  # it had nothing to say
            code = self.process.exitcode or 0
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            return f"its process was ended by {how}" if code else None
        finally:
            self._messages.close()


def _work(run: SweepRun, messages: Connection, packages: tuple[str, ...]) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    def watch_parent() -> None:
        parent = parent_process()
        assert parent is not None
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)  # an exception, so that no temporary file is left behind
    threading.Thread(target=watch_parent, daemon=True).start()
    try:
        from pyro_vd.workflow.training_run import train_run

        trust(*packages)
        train_run(run.recipe, run.folder, resume=True, progress=False)
    except (InputError, NonFiniteError, OSError) as error:
        messages.send(one_line(error))
    except Exception as error:
        messages.send(f"{type(error).__name__}: {one_line(error)}")
        raise
