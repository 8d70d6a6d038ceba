"""The trials of a sweep, which Optuna keeps in a folder that several processes and machines share."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState, create_trial

from pyro_vd._core.errors import InputError
from pyro_vd._core.locks import FileLock
from pyro_vd._core.messages import one_line
from pyro_vd._core.schema import check_tree

RUNNING, COMPLETE, STOPPED, FAILED = TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
_NAME = "sweep"
_FEWEST = 5  # complete trials before one is stopped
_KEPT = 75.0  # per cent of the trials that go on
_BEFORE_TPE = 10  # trials that are drawn at random, before the sampler learns from their scores


class _About(TypedDict):
    recipe: dict[str, Any]
    varied: list[str]
    search: list[str] | None


class _Attributes(TypedDict):
    point: dict[str, str]
    seeds: list[str]
    again: bool
    failed: NotRequired[dict[str, str]]


class Study:
    """The trials of a sweep. Whoever reads and then writes holds ``lock``; what is written is at once seen by all others.

    A trial is one setting: its user attribute ``point`` holds the keys and values, ``seeds`` those of its runs, and ``failed``
    the runs that have failed with their reasons. Its value is the mean validation score of its runs.

    Args:
        folder: for the files of the sweep; made if it does not exist.

    Raises:
        InputError: the folder holds a journal that cannot be read.
        OSError: the folder cannot be written to, or its file system has no locks.
    """

    def __init__(self, folder: Path) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        folder.mkdir(parents=True, exist_ok=True)
        self.lock: FileLock = FileLock(folder / "lock")
        self.claims: Path = folder / "claims"
        self.claims.mkdir(exist_ok=True)
        journal = folder / "journal.jsonl"
        self._journal = journal
        with self.lock, self._reading():
            self._storage = JournalStorage(JournalFileBackend(str(journal), _SystemLock(journal)))
            open_study = optuna.load_study if self._storage.get_all_studies() else optuna.create_study
            self._study = open_study(storage=self._storage, study_name=_NAME)
            self._id = self._storage.get_study_id_from_name(_NAME)
        self._study.pruner = optuna.pruners.PercentilePruner(_KEPT, n_startup_trials=_FEWEST, n_min_trials=_FEWEST)

    @property
    def about(self) -> dict[str, Any]:
        """What was noted about the sweep.

        Raises:
            InputError: the journal is broken.
        """
        with self._reading():
            found = self._study.user_attrs
            if "recipe" in found:
                check_tree(str(self._journal), found, _About)
        return found

    def note(self, key: str, value: Any) -> None:
        """Note something about the sweep, as plain content for JSON."""
        with self._reading():  # of what others have written since, here and below
            self._study.set_user_attr(key, value)

    def trials(self) -> list[FrozenTrial]:
        """All trials in the order of their numbers.

        Raises:
            InputError: the journal is broken.
        """
        with self._reading():
            found = self._study.get_trials(deepcopy=False)
            for trial in found:
                if "point" in trial.user_attrs:
                    check_tree(str(self._journal), trial.user_attrs, _Attributes)
        return found

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, InputError):
            raise
        except Exception as error:  # what Optuna raises depends on what is wrong
            message = f"{self._journal} is no journal of a sweep, or is broken: {one_line(error)}"
            raise InputError(message, name=str(self._journal), value=str(error), allowed="a journal of a sweep") from error

    def add(self, point: Mapping[str, str], seeds: list[str], again: FrozenTrial | None = None) -> FrozenTrial:
        """Add a trial that is in progress.

        Args:
            point: the keys and values of its setting.
            seeds: of its runs.
            again: the failed trial that it tries again; it does not count as another one.
        """
        attributes = {"point": dict(point), "seeds": seeds, "again": again is not None}
        params, distributions = (again.params, again.distributions) if again else ({}, {})
        with self._reading():
            self._study.add_trial(
                create_trial(state=RUNNING, user_attrs=attributes, params=params, distributions=distributions)
            )
        return self.trials()[-1]

    def draw(self, space: Mapping[str, BaseDistribution], learns: bool, seed: int) -> FrozenTrial:
        """Add a trial with a point that is drawn; it is in progress once :meth:`set` has given it its ``point``.

        What is drawn depends only on the seed and the trials so far.

        Args:
            space: the distribution of each key.
            learns: draw near good trials, by Optuna's TPE, once there are ten; otherwise at random.
            seed: of the sampler.
        """
        number = len(self.trials())
        with self._reading(), warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            own = (seed + 7919 * number) % 2**32
            self._study.sampler = (
                optuna.samplers.TPESampler(n_startup_trials=_BEFORE_TPE, constant_liar=True, seed=own)
                if learns
                else optuna.samplers.RandomSampler(own)
            )
            self._study.ask(dict(space))
        return self.trials()[number]

    def set(self, trial: FrozenTrial, key: str, value: Any) -> FrozenTrial:
        """Set a user attribute of a trial and return the trial with it."""
        with self._reading():
            self._storage.set_trial_user_attr(self._trial_id(trial), key, value)
        return self.trials()[trial.number]

    def tell(self, trial: FrozenTrial, state: TrialState, value: float | None = None) -> None:
        """End a trial."""
        with self._reading():
            self._study.tell(trial.number, value, state)

    def is_hopeless(self, trial: FrozenTrial, step: int, score: float) -> bool:
        """Record the score of a trial in progress, and say whether it is among the worst quarter of the complete ones.

        Args:
            trial: that one.
            step: how far it has come.
            score: its validation score there.
        """
        with self._reading():
            self._storage.set_trial_intermediate_value(self._trial_id(trial), step, score if math.isfinite(score) else math.inf)
            return self._study.pruner.prune(self._study, self.trials()[trial.number])

    def _trial_id(self, trial: FrozenTrial) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._id, trial.number)


class _SystemLock(JournalFileOpenLock):
    """The lock of the journal, which is taken for every record that is appended.

    That of Optuna stays when its holder is killed, and then holds all others up for 30 seconds.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal = journal
        self._held = FileLock(journal.with_suffix(".lock"))

    def acquire(self) -> bool:
        self._held.acquire(math.inf)
        with self._journal.open("rb") as file:
            whole = not file.seek(0, os.SEEK_END) or (file.seek(-1, os.SEEK_END) >= 0 and file.read(1) == b"\n")
        if not whole:  # a killed process or machine has begun a record; Optuna would append to it
            os.truncate(self._journal, self._journal.read_bytes().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._held.release()
