"""The trainings of a compression, one per size that is tried, and the choice among them on the validation data."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from pyro_vd.compaction import compact
from pyro_vd.evaluation.paired import paired_test, too_few_examples
from pyro_vd.evaluation.standard_error import Losses, losses_by_example
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.workflow.compress_arguments import Target
from pyro_vd.workflow.compress_data import CompressData
from pyro_vd.workflow.compress_deploy import Footprint, deployed_latency, footprint, latencies
from pyro_vd.workflow.compress_level import Training, trained
from pyro_vd.workflow.compress_result import CompressResult
from pyro_vd.workflow.compress_search import boundary

logger: logging.Logger = logging.getLogger(__name__)

_CLEAR = 0.05
"""Below this p-value, a rise of the validation error is said."""


@dataclass(frozen=True)
class Tried:
    """A network that was trained for a compression, and what it is on the validation data."""

    target: float
    network: nn.Module
    model: BayesianNetwork
    losses: Losses
    size: Footprint


class Trials:
    """A compression after its arguments were checked.

    Args:
        given: the network, on the CPU and in evaluation mode.
        model: of that network, for its likelihood.
        training: how to train.
        rise: the rise of the validation error that is allowed.
        folder: for checkpoints; None for none.
        resume: whether to go on from them.
    """

    def __init__(
        self, given: nn.Module, model: BayesianNetwork, training: Training, rise: float, folder: Path | None, resume: bool
    ) -> None:
        self._given, self._model, self._training, self._rise = given, model, training, rise
        self._folder, self._resume = folder, resume
        self._data: CompressData = training.data
        self._times: dict[float, dict[str, tuple[float, float]]] = {}
        self._compact = compact(given, self._data.example)  # what was zero before is no gain
        self._before = footprint(self._compact, training.deploy, self._data.example)
        self._losses = losses_by_example(given, self._data.validation, model.observed)
        if (few := too_few_examples(self._losses, None, rise)) is not None:
            logger.warning("%s", few)

    def _try(self, target: float) -> Tried:
        example = self._data.example
        files = self._folder, self._resume
        net, model = trained(self._given, self._model.likelihood, self._training, target, self._before, *files)
        losses = losses_by_example(net, self._data.validation, model.observed)
        tried = Tried(target, net, model, losses, footprint(net, self._training.deploy, example))
        logger.info("%.3g times smaller, %s: validation %s", self._before.bytes / tried.size.bytes, tried.size, losses.score)
        return tried

    def _is_small(self, tried: Tried) -> bool:
        return tried.size.bytes * tried.target <= self._before.bytes

    def _is_good(self, tried: Tried) -> bool:
        return self._is_small(tried) and self._losses.score.allows(tried.losses.score, self._rise)

    def _seconds(self, tried: Tried) -> dict[str, tuple[float, float]]:
        """The seconds of a batch before and after, measured once per trial: another measurement may be another number."""
        if tried.target not in self._times:
            times = latencies(self._compact, tried.network, self._training.deploy, self._data.example)
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
        elif target == "max":
            best, worse = boundary(self._try, lambda tried: not self._is_good(tried))
            found = best or worse  # type: ignore[assignment]
            if best is None and self._is_small(found):
                note = f"No compression was found at which the validation error rises by at most {self._rise:g}."
            elif best is None:
                note = f"Not even {found.target:.3g} times fewer bytes were reached."
        else:
            wanted = latency or 0.0
            slow, fast = boundary(self._try, lambda tried: self._latency(tried) <= wanted or not self._is_small(tried))
            found = fast or slow  # type: ignore[assignment]
            if (seconds := self._latency(found)) > wanted:
                note = f"The latency, {wanted:g} s, was not reached: {seconds:.3g} s is what was found."
        return self._measured(found, note)

    def _measured(self, found: Tried, note: str | None) -> CompressResult:
        data = self._data
        test, pair = paired_test(self._losses, found.losses), (self._losses, found.losses)
        old, new = (losses.score for losses in pair)
        worse = None
        if test.p_value < _CLEAR and not old.allows(new, self._rise):
            rose = f"The validation error rose from {old.cell()} to {new.cell()} (p = {test.p_value:.2g})"
            worse = f"{rose}: too high a target, or too few epochs."
        few = too_few_examples(self._losses, test.standard_error, self._rise)
        if data.test is not None:
            of_given = losses_by_example(self._given, data.test, self._model.observed)
            pair = of_given, losses_by_example(found.network, data.test, found.model.observed)
        return CompressResult(
            network=found.network,
            deploy=self._training.deploy,
            met=note is None,
            before=self._before,
            after=found.size,
            losses_before=pair[0],
            losses_after=pair[1],
            measured_on="validation data, by which the network was chosen" if data.test is None else "test data",
            seconds=self._seconds(found),
            notes=tuple(each for each in (note, worse, data.note, few) if each is not None),
            likelihood=found.model.likelihood,
            example=data.example,
        )
