"""A sweep that several processes and machines work on: who takes which run, and when a setting is done."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pyro_vd._core.errors import InputError
from pyro_vd._core.locks import FileLock
from pyro_vd._core.messages import one_line
from pyro_vd.evaluation.score import score_in
from pyro_vd.workflow.run_folder import read_metrics
from pyro_vd.workflow.settings import Setting, SweepRun
from pyro_vd.workflow.study import COMPLETE, FAILED, RUNNING, STOPPED, Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_UNKNOWN = "its validation score is not finite"


class Plan(Protocol):
    """Which settings a sweep tries."""

    @property
    def seeds(self) -> Sequence[str]:
        """The seeds of each setting; empty for that of the recipe."""

    def takes_part(self, trial: FrozenTrial) -> bool:
        """Whether a trial in the folder is one of this plan."""

    def next(self, study: Study) -> FrozenTrial | None:
        """Add the next trial; None if there are enough. The study's lock is held."""


@dataclass(frozen=True)
class Claim:
    """A run that this process works on, and no other one until it is given back."""

    trial: int
    name: str
    run: SweepRun
    leads: bool
    """Whether its validation scores decide whether the setting is stopped: the first run of a setting."""
    lock: FileLock


class SharedSweep:
    """The runs of a sweep, taken one by one by whoever is free.

    A run in progress is claimed by a lock that the system releases when its process ends: the run of a process that was killed
    is taken up again by the next one that is free, on whichever machine.

    Args:
        study: the trials.
        plan: the settings to try.
        make: makes a setting from its point and seeds; an ``InputError`` makes the trial a failed one.
    """

    def __init__(self, study: Study, plan: Plan, make: Callable[[Mapping[str, str], Sequence[str]], Setting]) -> None:
        self._study = study
        self._plan = plan
        self._make = make
        self._settings: dict[int, Setting | InputError] = {}
        self._again = [trial.number for trial in self._trials() if trial.state == FAILED]

    def take(self) -> Claim | None:
        """Claim a run; None if there is none to take at present."""
        with self._study.lock:
            for trial in self._trials():
                if trial.state == RUNNING and (claim := self._claim(trial)):
                    return claim
            while (new := self._next()) is not None:
                if claim := self._claim(new):
                    return claim
        return None

    def give_back(self, claim: Claim, error: str | None = None) -> None:
        """Release a claim.

        Args:
            claim: of a run that is finished, or that others may take up.
            error: why the run has failed; None if it has not.
        """
        with self._study.lock:
            trial = self._study.trials()[claim.trial]
            if error is not None and trial.state == RUNNING:
                trial = self._fail(trial, claim.name, error)
            claim.lock.release()
            if trial.state == RUNNING:
                self._settle(trial)

    def is_hopeless(self, claim: Claim, step: int, score: float) -> bool:
        """Record a score of a run in progress, and say whether it is to be stopped with its setting.

        Args:
            claim: of the run.
            step: how many tenths of its training after the KL warm-up it has done.
            score: of the network as it would be pruned now, on validation data.
        """
        with self._study.lock:
            trial = self._study.trials()[claim.trial]
            if trial.state == RUNNING and claim.leads and self._study.is_hopeless(trial, step, score):
                self._study.tell(trial, STOPPED)
                return True
        return trial.state == STOPPED

    def in_progress(self) -> int:
        """The number of settings that are not done, here or elsewhere."""
        return sum(trial.state == RUNNING for trial in self._trials())

    def settings(self) -> list[Setting]:
        """The settings of which all runs are finished; one that was tried twice comes once."""
        found = [self._setting(trial) for trial in self._trials() if trial.state in (COMPLETE, STOPPED)]
        return list({each.name: each for each in found if each and each.is_finished}.values())

    def failed(self) -> dict[str, str]:
        """Why runs have failed, by name; those that have succeeded since are left out."""
        reasons: dict[str, str] = {}
        for trial in self._trials():
            setting, failed = self._setting(trial), trial.user_attrs.get("failed", {})
            if trial.state == FAILED:
                reasons |= {name: failed[name] for name in (setting.runs if setting else failed) if name in failed}
            elif setting:
                reasons = {name: why for name, why in reasons.items() if name not in setting.runs}
        return reasons

    def stopped(self) -> list[str]:
        """The names of the settings that were stopped, and not finished by hand since."""
        found = [self._setting(trial) for trial in self._trials() if trial.state == STOPPED]
        return [each.name for each in found if each and not each.is_finished]

    def ended(self) -> int:
        """The number of runs that are finished, failed or stopped, here or elsewhere."""
        ended = 0
        for trial in self._trials():
            if trial.state == RUNNING:
                setting = self._setting(trial)
                ended += sum(run.is_finished for run in setting.runs.values()) if setting else 0
            elif not trial.user_attrs["again"]:
                ended += max(1, len(self._plan.seeds))
        return ended

    def _trials(self) -> list[FrozenTrial]:
        return [trial for trial in self._study.trials() if self._plan.takes_part(trial)]

    def _next(self) -> FrozenTrial | None:
        while self._again:
            failed = self._study.trials()[self._again.pop(0)]
            point, seeds = failed.user_attrs["point"], failed.user_attrs["seeds"]
            later = (each for each in self._trials() if each.number > failed.number)
            if not any(each.user_attrs["point"] == point and each.user_attrs["seeds"] == seeds for each in later):
                return self._study.add(point, seeds, again=failed)
        return self._plan.next(self._study)

    def _setting(self, trial: FrozenTrial) -> Setting | None:
        """The setting of a trial; None if its point does not fit the recipe."""
        made = self._made(trial)
        return made if isinstance(made, Setting) else None

    def _made(self, trial: FrozenTrial) -> Setting | InputError:
        if trial.number not in self._settings:
            try:
                self._settings[trial.number] = self._make(trial.user_attrs["point"], trial.user_attrs["seeds"])
            except InputError as error:
                self._settings[trial.number] = error
        return self._settings[trial.number]

    def _claim(self, trial: FrozenTrial) -> Claim | None:
        """Claim a run of a trial that nobody works on; where all are done, or its point does not fit, the trial is ended."""
        setting = self._made(trial)
        if isinstance(setting, InputError):
            self._study.tell(self._fail(trial, str(trial.user_attrs["point"]), one_line(setting)), FAILED)
            return None
        for index, (name, run) in enumerate(setting.runs.items()):
            if not run.is_finished and name not in trial.user_attrs.get("failed", {}):
                lock = FileLock(self._study.claims / name)
                if lock.acquire():
                    return Claim(trial.number, name, run, index == 0, lock)
        self._settle(trial)
        return None

    def _settle(self, trial: FrozenTrial) -> None:
        """End a trial of which all runs have ended."""
        setting, failed = self._setting(trial), trial.user_attrs.get("failed", {})
        if setting is None or not all(run.is_finished or name in failed for name, run in setting.runs.items()):
            return
        scores = []
        for name, run in setting.runs.items():
            if name not in failed:
                score = score_in(read_metrics(run.folder), "validation_")
                trial = trial if score else self._fail(trial, name, _UNKNOWN)
                scores += [score.value] if score else []
        if trial.user_attrs.get("failed"):
            self._study.tell(trial, FAILED)
        else:
            self._study.tell(trial, COMPLETE, statistics.mean(scores))

    def _fail(self, trial: FrozenTrial, name: str, why: str) -> FrozenTrial:
        return self._study.set(trial, "failed", {**trial.user_attrs.get("failed", {}), name: why})
