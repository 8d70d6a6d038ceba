"""Which settings a sweep tries: every combination of some values, or points that a sampler draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyro_vd.workflow.search_space import Choices, Range
from pyro_vd.workflow.study import FAILED, RUNNING, Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


@dataclass(frozen=True)
class Grid:
    """Every one of some points, in their order."""

    points: Sequence[Mapping[str, str]]
    """Keys with their values, as text."""
    seeds: Sequence[str]
    """The seeds of each setting; empty for that of the recipe."""

    def takes_part(self, trial: FrozenTrial) -> bool:
        """Whether a trial is one of these points with these seeds."""
        about = trial.user_attrs
        return about.get("point") in self.points and about.get("seeds") == list(self.seeds)

    def next(self, study: Study) -> FrozenTrial | None:
        """Add the first point that is not tried yet."""
        tried = [trial.user_attrs["point"] for trial in study.trials() if self.takes_part(trial)]
        left = (point for point in self.points if point not in tried)
        return None if (point := next(left, None)) is None else study.add(point, list(self.seeds))

    def size(self) -> int:
        """The number of settings."""
        return len(self.points)


@dataclass(frozen=True)
class Search:
    """Points that a sampler draws."""

    space: Mapping[str, Range | Choices]
    """What each key may be."""
    seeds: Sequence[str]
    """The seeds of each setting; empty for that of the recipe."""
    trials: int
    """How many points are drawn, by all processes together."""
    learns: bool
    """Whether the sampler draws near good points, see :meth:`Study.draw`."""
    seed: int
    """Of the sampler."""

    def takes_part(self, trial: FrozenTrial) -> bool:
        """Whether a trial has its point; one of a process that was killed while it drew has none."""
        return "point" in trial.user_attrs

    def next(self, study: Study) -> FrozenTrial | None:
        """Draw a point, unless there are enough."""
        for trial in study.trials():
            if trial.state == RUNNING and not self.takes_part(trial):
                study.tell(trial, FAILED)
        if sum(self.takes_part(trial) and not trial.user_attrs["again"] for trial in study.trials()) >= self.trials:
            return None
        trial = study.draw({key: each.distribution() for key, each in self.space.items()}, self.learns, self.seed)
        study.set(trial, "seeds", list(self.seeds))
        study.set(trial, "again", False)
        return study.set(trial, "point", {key: each.text(trial.params[key]) for key, each in self.space.items()})

    def size(self) -> int:
        """The number of settings."""
        return self.trials
