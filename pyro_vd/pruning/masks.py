"""From log α to a plain sparse network, and the choice of the threshold on validation data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyro_vd._core.arguments import LARGEST, check_numbers
from pyro_vd._core.errors import InputError
from pyro_vd.guides.checks import check_pair
from pyro_vd.pruning.thresholds import (
    DEFAULT_THRESHOLD,
    Threshold,
    check_threshold,
)

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide
    from pyro_vd.models.bayesian import BayesianNetwork


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
    from pyro_vd.guides.alpha import log_alpha

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
