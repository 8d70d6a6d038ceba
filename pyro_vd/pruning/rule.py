"""What is pruned: the rule that every function which prunes, counts or shows what is left takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from pyro_vd._core.arguments import LARGEST, check_number, check_numbers
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import did_you_mean, quoted
from pyro_vd.guides.alpha import log_alpha
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.pruning.masks import threshold_masks
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD, Threshold, check_threshold


@dataclass(frozen=True, init=False)
class PruningRule:
    """Which weights are pruned: those of log α at or above a threshold, and of each layer all but the inputs that matter most.

    Args:
        threshold: on log α: a number, or what :func:`~pyro_vd.choose_threshold` gives; a lower one prunes more. The default, 3,
            is a dropout rate of 0.95.
        max_inputs: the most inputs that each layer keeps, those of least log α, which for an input is that of the weight that
            matters most: a list with one number per layer, in the order in which the layers run; or a mapping from weight sites
            to numbers. None, and a site that is not in the mapping, has no limit.
        thresholds: by weight site, the threshold of a layer that has another.

    Raises:
        InputError: a threshold that is no number; numbers of inputs that are no whole numbers ≥ 0.
    """

    threshold: float
    max_inputs: tuple[int, ...] | Mapping[str, int] | None
    thresholds: Mapping[str, float]

    def __init__(
        self,
        threshold: Threshold = DEFAULT_THRESHOLD,
        max_inputs: Sequence[int] | Mapping[str, int] | None = None,
        thresholds: Mapping[str, Threshold] = MappingProxyType({}),
    ) -> None:
        limits: tuple[int, ...] | dict[str, int] | None = None
        if isinstance(max_inputs, Mapping):
            named = {site: (f"max_inputs of {quoted(site)}", most) for site, most in max_inputs.items()}
            limits = {site: check_number(*given, low=0, high=LARGEST, whole=True) for site, given in named.items()}
        elif max_inputs is not None:
            limits = tuple(check_numbers("max_inputs", max_inputs, low=0, high=LARGEST))
        if not isinstance(thresholds, Mapping):
            raise InputError(name="thresholds", value=thresholds, allowed="a mapping from weight sites to thresholds")
        own = {site: check_threshold(value, f"threshold of {quoted(site)}") for site, value in thresholds.items()}
        for name, value in {"threshold": check_threshold(threshold), "max_inputs": limits, "thresholds": own}.items():
            object.__setattr__(self, name, value)

    def masks(self, guide: WeightGuide) -> dict[str, Tensor]:
        """True for every weight that is kept, by site; see :func:`pruning_masks`."""
        values, sites = log_alpha(guide), guide.site_names
        _check_sites("thresholds", self.thresholds, sites)
        masks = threshold_masks(values, {site: self.thresholds.get(site, self.threshold) for site in sites})
        for name, most in self._limits(guide).items():
            if not guide.model.layer_kind(name).is_dense(layer := guide.model.layer(name)):
                raise InputError(
                    f"max_inputs (={most}): site {name!r} is a {layer}; groups must be 1 for its inputs to be counted"
                )
            masks[name] &= _least_inputs(values[name], guide.model.weight_axes(name).index("in"), most)
        return masks

    def _limits(self, guide: WeightGuide) -> Mapping[str, int]:
        """The most inputs of the layers that have a limit, by site.

        Raises:
            InputError: a site that the guide has not; not one number for each; it is not known which layer runs first; or the
                guide does not rank inputs.
        """
        most, sites = self.max_inputs, guide.site_names
        if most is None:
            return {}
        if isinstance(most, tuple) and len(most) != len(sites):
            raise InputError(
                name="max_inputs", value=list(most), allowed=f"a list of one number for each of {', '.join(map(repr, sites))}"
            )
        if not guide.ranks_inputs:
            raise InputError(
                f"max_inputs (={quoted(most)}): {type(guide).__name__} learns no α that differs between the inputs of a layer"
            )
        if isinstance(most, Mapping):
            _check_sites("max_inputs", most, sites)
            return most
        if (order := guide.model.order_of_execution) != sites:
            raise InputError(
                f"max_inputs (={list(most)}) are for the layers in the order in which they run, {', '.join(order)}; torch.fx "
                f"cannot follow this network, and they are listed as {', '.join(sites)}. Register its layers in that order, or "
                "give the numbers by site"
            )
        return dict(zip(sites, most, strict=True))


Rule = PruningRule | Threshold
"""What every function that prunes takes: a rule, or a threshold alone."""


def rule_of(rule: Rule) -> PruningRule:
    """The rule that was given, or the one of a threshold.

    Raises:
        InputError: neither.
    """
    return rule if isinstance(rule, PruningRule) else PruningRule(check_threshold(rule, "rule"))


def pruning_masks(guide: WeightGuide, rule: Rule = DEFAULT_THRESHOLD) -> dict[str, Tensor]:
    """True for every weight that :func:`~pyro_vd.prune` keeps, by site; ``guide.apply_masks`` takes it.

    Raises:
        InputError: no rule; a log α is NaN, or the guide has none; a site that the guide has not, or not one number of inputs
            for each; or inputs that cannot be ranked: those of a grouped convolution, or where they have one α.
    """
    return rule_of(rule).masks(guide)


def _check_sites(name: str, given: Mapping[str, object], sites: Sequence[str]) -> None:
    if unknown := sorted(set(given) - set(sites)):
        raise InputError(
            f"{name} (={quoted(unknown)}) must name weight sites: {', '.join(sites)}{did_you_mean(unknown[0], sites)}"
        )


def _least_inputs(values: Tensor, axis: int, most: int) -> Tensor:
    """True for the inputs of least log α, in a shape that broadcasts to the weight's."""
    of_input = values.movedim(axis, 0).flatten(1).amin(1)
    kept = torch.zeros_like(of_input, dtype=torch.bool)
    kept[of_input.argsort(stable=True)[:most]] = True
    return kept.view([-1 if dimension == axis else 1 for dimension in range(values.ndim)])
