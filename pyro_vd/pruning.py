"""From log α to a plain sparse network, and the choice of the threshold on validation data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pyro_vd.checks import check_data, check_number, check_pair
from pyro_vd.deployed import stored_size
from pyro_vd.errors import InputError
from pyro_vd.metrics import Arrays, error_of
from pyro_vd.sizes import compression

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide
    from pyro_vd.models.bayesian import BayesianNetwork

DEFAULT_THRESHOLD = 3.0
"""log α = 3 is a Bernoulli dropout rate of about 0.95 (Molchanov 2017, section 5.1)."""

CANDIDATES = tuple(k / 4 for k in range(-16, 33))
"""Thresholds that :func:`choose_threshold` tries, from −4 to 8."""


def keep_masks(log_alphas: Mapping[str, Tensor], threshold: float = DEFAULT_THRESHOLD) -> dict[str, Tensor]:
    """True for every weight to keep, by site: log α below the threshold.

    Raises:
        InputError: a NaN among the thresholds or the values.
    """
    if math.isnan(threshold):
        raise InputError("threshold (=nan) must be a number; log α at or above it is pruned")
    for name, values in log_alphas.items():
        if broken := int(values.isnan().sum()):
            raise InputError(f"site {name!r}: {broken} of {values.numel()} values of log α are NaN, all must be numbers")
    return {name: values < threshold for name, values in log_alphas.items()}


def kept_weights(
    model: BayesianNetwork, guide: WeightGuide, threshold: float = DEFAULT_THRESHOLD, units: Sequence[int] | None = None
) -> dict[str, Tensor]:
    """True for every weight that :func:`prune` keeps, by site; ``guide.restrict`` takes it.

    Args:
        model: the trained model.
        guide: its trained guide.
        threshold: on log α; a lower one keeps fewer.
        units: the most inputs that each layer keeps, first layer first: those of least log α, which for an input is that of
            the weight that matters most. None sets no limit.

    Raises:
        InputError: the threshold or a log α is NaN; the guide has no log α; not one number of units, 0 or more, a layer; or
            its inputs cannot be ranked: those of a grouped convolution, or where they have one α.
    """
    from pyro_vd.posterior import log_alpha

    check_pair(model, guide)
    log_alphas = log_alpha(guide)
    masks = keep_masks(log_alphas, threshold)
    if units is None:
        return masks
    if not isinstance(units, Sequence) or len(units) != len(masks):
        raise InputError(f"units (={units!r}) must be a list of one number for each of {', '.join(map(repr, masks))}")
    if not guide.ranks_inputs:
        raise InputError(
            f"units (={list(units)}): {type(guide).__name__} learns no α that differs between the inputs of a layer"
        )
    for (name, values), most in zip(log_alphas.items(), units, strict=True):
        check_number("units", most, low=0, whole=True)
        if getattr(layer := model.layer(name), "groups", 1) != 1:
            raise InputError(
                f"units (={list(units)}): site {name!r} is a {layer}; groups must be 1 for its inputs to be counted"
            )
        masks[name] &= _least_inputs(values, model.weight_axes(name).index("in"), most)
    return masks


def _least_inputs(log_alpha: Tensor, axis: int, most: int) -> Tensor:
    """True for the inputs of least log α, in a shape that broadcasts to the weight's."""
    of_input = log_alpha.movedim(axis, 0).flatten(1).amin(1)
    kept = torch.zeros_like(of_input, dtype=torch.bool)
    kept[of_input.argsort(stable=True)[:most]] = True
    return kept.view([-1 if dimension == axis else 1 for dimension in range(log_alpha.ndim)])


@torch.no_grad()
def prune(
    model: BayesianNetwork, guide: WeightGuide, threshold: float = DEFAULT_THRESHOLD, units: Sequence[int] | None = None
) -> nn.Module:
    """The posterior mean with every weight of log α ≥ ``threshold`` set to zero, as an ordinary network without Pyro.

    Args:
        model: the trained model.
        guide: its trained guide.
        threshold: on log α; a lower one prunes more.
        units: the most inputs that each layer keeps; see :func:`kept_weights`, also for what is refused.

    Raises:
        InputError: the threshold or a log α is NaN, the guide has no log α, or ``units`` do not fit.
    """
    masks = kept_weights(model, guide, threshold, units)
    return model.plain_network({name: guide.mean(name) * mask for name, mask in masks.items()})


@dataclass(frozen=True)
class ThresholdTrial:
    """One candidate: its validation error, a share in [0, 1] or of numbers the RMSE, and how small the network is with it.

    ``compression`` is |W| / |W kept|; the other two are of :class:`~pyro_vd.deployed.StoredSize`, not compacted.
    """

    threshold: float
    error: float
    compression: float
    nonzero_parameters: int
    sparse_bytes: int


@dataclass(frozen=True)
class ThresholdChoice:
    """The chosen threshold, the validation error without pruning, and every candidate tried, lowest first."""

    threshold: float
    unpruned_error: float
    trials: tuple[ThresholdTrial, ...]

    def __repr__(self) -> str:
        chosen = next((trial for trial in self.trials if trial.threshold == self.threshold), None)
        return f"ThresholdChoice({chosen}, of {len(self.trials)} trials; unpruned_error={self.unpruned_error})"


def choose_threshold(
    model: BayesianNetwork,
    guide: WeightGuide,
    validation: Arrays,
    max_error_rise: float = 0.0,
    candidates: Sequence[float] = CANDIDATES,
    hold: float | None = None,
) -> ThresholdChoice:
    """The lowest threshold, so the largest compression, whose validation error is at most the unpruned one plus x.

    Args:
        validation: ``(x, y)`` held out from training; never the test data.
        max_error_rise: x, a share in [0, 1] (0.001 is a tenth of a percentage point); where numbers are predicted, the share
            of the unpruned root mean square error that it may rise by.
        candidates: thresholds to try.
        hold: what the training was given as ``hold``. Means beyond it were never used: they are zero in the unpruned
            network, and no candidate goes beyond.

    Raises:
        InputError: ``max_error_rise`` out of range, data that do not fit, no candidate, or none that keeps within it.
    """
    check_number("max_error_rise", max_error_rise, low=0, high=1)
    highest = math.inf if hold is None else hold
    tried = sorted(threshold for threshold in candidates if threshold <= highest)
    if not tried:
        raise InputError(f"candidates (={list(candidates)}) must hold a threshold of at most {highest}")
    unpruned, validation = prune(model, guide, highest), check_data("validation data", validation, model)
    ((measure, unpruned_error),) = error_of(unpruned, validation, model.observed).items()
    allowed = max_error_rise * (unpruned_error if measure == "rmse" else 1)
    trials = []
    for threshold in tried:
        net = prune(model, guide, threshold)
        (error,) = error_of(net, validation, model.observed).values()
        trials.append(ThresholdTrial(threshold, error, compression(net, model.weight_names), **vars(stored_size(net))))
    good = [trial.threshold for trial in trials if trial.error <= unpruned_error + allowed + 1e-12]
    if not good:
        raise InputError(
            f"no threshold from {tried[0]} to {tried[-1]} keeps the validation error within {max_error_rise} of "
            f"{unpruned_error:.4f}; allow a larger max_error_rise"
        )
    return ThresholdChoice(good[0], unpruned_error, tuple(trials))
