"""The trainings of a compression, one per size that is tried, and the choice among them on the validation data."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import nn

from pyro_vd.compaction.compacting import compacted
from pyro_vd.evaluation.guessing import looks_untrained
from pyro_vd.evaluation.paired import paired_test, too_few_examples
from pyro_vd.evaluation.standard_error import Losses, losses_by_example
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.workflow.compress_arguments import Arguments, Target
from pyro_vd.workflow.compress_data import CompressData
from pyro_vd.workflow.compress_deploy import Footprint, deployed_latency, footprint, latencies
from pyro_vd.workflow.compress_level import Trained, Training, trained
from pyro_vd.workflow.compress_result import Attempt, CompressResult
from pyro_vd.workflow.compress_search import boundary

logger: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tried:
    """A network that was trained for a compression, and what it is on the validation data."""

    target: float
    trained: Trained
    losses: Losses
    size: Footprint

    @property
    def network(self) -> nn.Module:
        """The compact network."""
        return self.trained.network


class Trials:
    """A compression after its arguments were checked.

    Args:
        given: the network, on the CPU and in evaluation mode.
        model: of that network, for its likelihood.
        training: how to train.
        asked: what is asked for.
        folder: for checkpoints; None for none.
        resume: whether to go on from them.
    """

    def __init__(
        self, given: nn.Module, model: BayesianNetwork, training: Training, asked: Arguments, folder: Path | None, resume: bool
    ) -> None:
        self._given, self._model, self._training, self._rise = given, model, training, asked.max_error_rise
        self._asked = {name: value for name, value in asdict(asked).items() if value is not None}
        self._folder, self._resume = folder, resume
        self._data: CompressData = training.data
        self._times: dict[float, dict[str, tuple[float, float]]] = {}
        self._tried: list[Tried] = []
        self._compact = compacted(given, self._data.example).net  # what was zero before is no gain
        self._before = footprint(self._compact, training.deploy, self._data.example)
        self._losses = losses_by_example(given, self._data.validation, model.observed)
        self._untrained = looks_untrained(given, self._data.validation, model.observed, self._losses)
        self._few = too_few_examples(self._losses, None, self._rise)
        for sentence in (self._untrained, self._few):
            if sentence is not None:
                logger.warning("%s", sentence)

    def _try(self, target: float) -> Tried:
        example = self._data.example
        files = self._folder, self._resume
        found = trained(
            self._given, self._model.likelihood, self._training, target, self._before, *files, is_first=not self._tried
        )
        losses = losses_by_example(found.network, self._data.validation, found.model.observed)
        tried = Tried(target, found, losses, footprint(found.network, self._training.deploy, example))
        logger.info("%.3g times smaller, %s: validation %s", self._before.bytes / tried.size.bytes, tried.size, losses.score)
        self._tried.append(tried)
        return tried

    def _is_small(self, tried: Tried) -> bool:
        return tried.size.bytes * tried.target <= self._before.bytes

    def _is_good(self, tried: Tried) -> bool:
        return self._is_small(tried) and self._losses.score.allows(tried.losses.score, self._rise)

    def _seconds(self, tried: Tried) -> dict[str, tuple[float, float]]:
        """The seconds of a batch before and after, measured once per trial: another measurement may be another number."""
        if tried.target not in self._times:
            times = latencies(self._compact, tried.trained.network, self._training.deploy, self._data.example)
            self._times[tried.target] = times
        return self._times[tried.target]

    def _latency(self, tried: Tried) -> float:
        return deployed_latency(self._seconds(tried))

    def result(self, target: Target, latency: float | None) -> CompressResult:
        """Train until the target is reached, or cannot be."""
        note = None
        if isinstance(target, float):
            found = self._try(target)
            if not self._is_small(found):
                reached = self._before.bytes / found.size.bytes
                note = f"The target, {target:g} times fewer bytes, was not reached: {reached:.1f} times is what was found."
                note += _too_short(found)
        elif target == "max":
            best, worse = boundary(self._try, lambda tried: not self._is_good(tried))
            found = best or worse  # type: ignore[assignment]
            if best is None and self._is_small(found):
                note = f"No compression was found at which the validation error rises by at most {self._rise:g}."
            elif best is None:
                note = f"Not even {found.target:.3g} times fewer bytes were reached.{_too_short(found)}"
        else:
            wanted = latency or 0.0
            slow, fast = boundary(self._try, lambda tried: self._latency(tried) <= wanted or not self._is_small(tried))
            found = fast or slow  # type: ignore[assignment]
            if (seconds := self._latency(found)) > wanted:
                note = f"The latency, {wanted:g} s, was not reached: {seconds:.3g} s is what was found."
        return self._measured(found, note)

    def _measured(self, found: Tried, note: str | None) -> CompressResult:
        data, made = self._data, found.trained
        test, pair = paired_test(self._losses, found.losses), (self._losses, found.losses)
        old, new = (losses.score for losses in pair)
        worse = None
        if test.is_clear and not old.allows(new, self._rise):
            rose = f"The validation error rose from {old.cell()} to {new.cell()} (p = {test.p_value:.2g})"
            worse = f"{rose}: too high a target, or too few epochs."
        few = None if self._few is not None else too_few_examples(self._losses, test.standard_error, self._rise)
        if data.test is not None:
            of_given = losses_by_example(self._given, data.test, self._model.observed)
            pair = of_given, losses_by_example(found.network, data.test, found.trained.model.observed)
        return CompressResult(
            network=made.network,
            deploy=self._training.deploy,
            met=note is None,
            before=self._before,
            after=found.size,
            losses_before=pair[0],
            losses_after=pair[1],
            measured_on="test data" if data.test is not None else data.chosen_by,
            seconds=self._seconds(found),
            attempts=tuple(self._attempt(each, each is found) for each in sorted(self._tried, key=lambda each: each.target)),
            notes=tuple(each for each in (note, worse, few, *made.messages) if each is not None),
            said=tuple(each for each in (data.note, self._untrained, self._few) if each is not None),
            likelihood=made.model.likelihood,
            example=data.example,
            trained=made,
            given=self._compact,
            given_likelihood=self._model.observed,
            data=data,
            arguments=self._asked,
        )

    def _attempt(self, tried: Tried, is_taken: bool) -> Attempt:
        seconds = self._times.get(tried.target)
        latency = None if seconds is None else deployed_latency(seconds)
        size = tried.size
        return Attempt(tried.target, self._before.bytes / size.bytes, size, tried.losses.score, latency, is_taken)


def _too_short(tried: Tried) -> str:
    """A sentence where the training was too short for the weights to reach their threshold; otherwise empty."""
    epochs = tried.trained.epochs
    if epochs is None:
        return ""
    return f" {epochs} epochs were too few for the weights to reach their threshold: try more, or a larger lr."
