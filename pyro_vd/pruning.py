"""From log α to a plain sparse network, and the choice of the threshold on validation data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pyro_vd.arguments import LARGEST, check_number, check_numbers
from pyro_vd.checks import check_measured
from pyro_vd.deployed import stored_size
from pyro_vd.errors import InputError
from pyro_vd.messages import quoted
from pyro_vd.metrics import Arrays, error_of
from pyro_vd.objects import check_hold, check_pair
from pyro_vd.sizes import compression
from pyro_vd.thresholds import DEFAULT_THRESHOLD, Threshold, ThresholdChoice, ThresholdTrial, check_threshold, check_thresholds

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide
    from pyro_vd.models.bayesian import BayesianNetwork

CANDIDATES = tuple(k / 4 for k in range(-16, 33))
"""Thresholds that :func:`choose_threshold` tries, from −4 to 8."""


def keep_masks(log_alphas: Mapping[str, Tensor], threshold: Threshold = DEFAULT_THRESHOLD) -> dict[str, Tensor]:
    """True for every weight to keep, by site: log α below the threshold.

    Raises:
        InputError: no threshold, or a NaN among the values.
    """
    threshold = check_threshold(threshold)
    for name, values in log_alphas.items():
        if broken := int(values.isnan().sum()):
            raise InputError(f"site {name!r}: {broken} of {values.numel()} values of log α are NaN, all must be numbers")
    return {name: values < threshold for name, values in log_alphas.items()}


def kept_weights(
    model: BayesianNetwork, guide: WeightGuide, threshold: Threshold = DEFAULT_THRESHOLD, units: Sequence[int] | None = None
) -> dict[str, Tensor]:
    """True for every weight that :func:`prune` keeps, by site; ``guide.restrict`` takes it.

    Args:
        model: the trained model.
        guide: its trained guide.
        threshold: on log α, a number or what :func:`choose_threshold` gives; a lower one keeps fewer.
        units: the most inputs that each layer keeps, first layer first: those of least log α, which for an input is that of
            the weight that matters most. None sets no limit.

    Raises:
        InputError: the threshold is no number, or a log α is NaN; the guide has no log α; not one number of units per layer; or
            its inputs cannot be ranked: those of a grouped convolution, or where they have one α.
    """
    from pyro_vd.posterior import log_alpha

    check_pair(model, guide)
    log_alphas = log_alpha(guide)
    masks = keep_masks(log_alphas, threshold)
    if units is None:
        return masks
    most_inputs = check_numbers("units", units, low=0, high=LARGEST)
    if len(most_inputs) != len(masks):
        raise InputError(f"units (={most_inputs}) must be a list of one number for each of {', '.join(map(repr, masks))}")
    if not guide.ranks_inputs:
        raise InputError(
            f"units (={most_inputs}): {type(guide).__name__} learns no α that differs between the inputs of a layer"
        )
    if (order := model.order_of_execution) != model.weight_names:
        raise InputError(
            f"units (={most_inputs}) are for the layers in the order in which they run, {', '.join(order)}; torch.fx cannot "
            f"follow this network, and they are listed as {', '.join(model.weight_names)}. Register its layers in that order"
        )
    for (name, values), most in zip(log_alphas.items(), most_inputs, strict=True):
        if getattr(layer := model.layer(name), "groups", 1) != 1:
            raise InputError(
                f"units (={most_inputs}): site {name!r} is a {layer}; groups must be 1 for its inputs to be counted"
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
    model: BayesianNetwork, guide: WeightGuide, threshold: Threshold = DEFAULT_THRESHOLD, units: Sequence[int] | None = None
) -> nn.Module:
    """The posterior mean with every weight of log α ≥ ``threshold`` set to zero, as an ordinary network without Pyro.

    Args:
        model: the trained model.
        guide: its trained guide.
        threshold: on log α, a number or what :func:`choose_threshold` gives; a lower one prunes more.
        units: the most inputs that each layer keeps; see :func:`kept_weights`, also for what is refused.

    Raises:
        InputError: the threshold is no number, or a log α is NaN, the guide has no log α, or ``units`` do not fit.
    """
    masks = kept_weights(model, guide, threshold, units)
    return model.plain_network({name: guide.mean(name) * mask for name, mask in masks.items()})


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
    check_pair(model, guide)
    max_error_rise = check_number("max_error_rise", max_error_rise, low=0, high=1)
    hold = check_hold(hold, guide)
    highest = math.inf if hold is None else hold
    tried = sorted(threshold for threshold in check_thresholds("candidates", candidates) if threshold <= highest)
    if not tried:
        raise InputError(f"candidates (={quoted(candidates)}) must hold a threshold of at most {highest}")
    unpruned, validation = prune(model, guide, highest), check_measured("validation data", validation, model)
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
            f"no threshold from {tried[0]:g} to {tried[-1]:g} keeps the validation error within {max_error_rise} of "
            f"{unpruned_error:.4f}; allow a larger max_error_rise"
        )
    return ThresholdChoice(good[0], unpruned_error, tuple(trials))
