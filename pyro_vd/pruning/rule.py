"""The pruning rule: one argument for every function that prunes weights, or counts or shows the weights that are left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from pyro_vd._core.arguments import LARGEST, check_number, check_numbers
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd._core.patterns import by_pattern
from pyro_vd.guides.alpha import site_log_alpha
from pyro_vd.guides.checks import check_guide
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.pruning.masks import site_mask
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD, Threshold, check_threshold


@dataclass(frozen=True, init=False)
class PruningRule:
    """The choice of the weights to prune: by a threshold on log α, and by a largest number of inputs per layer.

    Weights with log α at or above the threshold are pruned. A layer with a largest number of inputs keeps the inputs with the
    least log α, where the log α of an input is the least of its weights. The inputs are counted as units of
    :class:`~pyro_vd.distributions.unit_layout.UnitLayout`: the rows of an embedding, the heads that a projection out of an
    attention reads, or, where the guide knows units that go together, the filters that a layer reads after a flattening. Sites
    that share units with a limited one keep the same of them.

    Args:
        threshold: the threshold on log α: a number, or the result of :func:`~pyro_vd.choose_threshold`. A lower threshold
            prunes more. The default, 3, corresponds to a dropout rate of 0.95.
        max_inputs: the largest number of inputs that each layer keeps: a list with one number per layer, in the order in which
            the layers run, or a mapping from weight sites, or patterns of their names, to numbers. None sets no limit, and
            neither does a mapping for the sites that it lacks.
        thresholds: thresholds of single layers, by weight site or pattern; they replace ``threshold``.

    Of several patterns that match a site, such as ``{"embedding.*": 5.0, "*": 3.0}``, the first counts.

    Raises:
        InputError: a threshold is not a number, or a number of inputs is not an integer in [0, 2³¹ − 1].

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from pyro_vd import BayesianNetwork, PruningRule, VariationalDropout, prune
        >>> guide = VariationalDropout(BayesianNetwork(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))))
        >>> small = prune(guide, PruningRule(3.0, max_inputs=[2, 5]))
        >>> [int(layer.weight.any(0).sum()) for layer in small]
        [2, 5]
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
        for what, given in {"max_inputs": max_inputs, "thresholds": thresholds}.items():
            if isinstance(given, Mapping) and not all(isinstance(site, str) for site in given):
                raise InputError(name=what, value=given, allowed="a mapping whose keys are the names of weight sites")
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

    def __hash__(self) -> int:
        most = tuple(sorted(self.max_inputs.items())) if isinstance(self.max_inputs, Mapping) else self.max_inputs
        return hash((self.threshold, most, tuple(sorted(self.thresholds.items()))))

    def masks(self, guide: WeightGuide) -> dict[str, Tensor]:
        """Return masks that are True for every weight to keep, by site; see :func:`pruning_masks`."""
        check_guide(guide)
        thresholds = self.site_thresholds(guide.site_names)
        masks = {name: site_mask(name, site_log_alpha(guide, name), threshold) for name, threshold in thresholds.items()}
        for name, most in self._limits(guide).items():
            if guide.model.layer_kind(name) is None:
                raise InputError(
                    f"max_inputs (={most}) must not limit site {name!r}, of {quoted(guide.model.layer(name))}, because it is "
                    "not the weight of a layer",
                    name="max_inputs",
                    value=most,
                )
            layout = guide.unit_layout(name)
            read = torch.ones(layout.count, dtype=torch.bool) if layout.is_read is None else layout.is_read
            values = site_log_alpha(guide, name)
            kept = ~read.to(values.device)  # units of other sites stay
            ranked = layout.least(values).masked_fill(kept, torch.inf).argsort(stable=True)
            kept[ranked[:most]] = True
            for other in guide.sites_with_units_of(name):
                masks[other] &= guide.unit_layout(other).over_weight(kept, masks[other].shape)
        return masks

    def site_thresholds(self, sites: Sequence[str]) -> dict[str, float]:
        """Return the threshold of each site.

        Raises:
            InputError: a pattern in ``thresholds`` matches no site.
        """
        return dict.fromkeys(sites, self.threshold) | by_pattern("thresholds", self.thresholds, sites)

    def _limits(self, guide: WeightGuide) -> Mapping[str, int]:
        """Return the largest numbers of inputs of the layers that have a limit, by site.

        Raises:
            InputError: ``max_inputs`` names a site that the guide does not have, or does not have one number per layer; the
                order of execution is not known; or the guide does not rank inputs.
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
                name="max_inputs",
                value=most if isinstance(most, Mapping) else list(most),
                allowed=f"None with {type(guide).__name__}, whose α do not differ between the inputs of a layer",
            )
        if isinstance(most, Mapping):
            return by_pattern("max_inputs", most, sites)
        if (order := guide.model.order_of_execution) != sites:
            raise InputError(
                name="max_inputs",
                value=list(most),
                allowed=f"a mapping from sites to numbers: the layers run in the order {', '.join(order)}; torch.fx cannot "
                f"follow this network, so that a list would be for the order of registration, {', '.join(sites)}",
            )
        return dict(zip(sites, most, strict=True))


Rule = PruningRule | Threshold
"""The argument of every function that prunes: a rule, or a threshold alone."""


def rule_of(rule: Rule) -> PruningRule:
    """Return a given rule, or the rule of a given threshold.

    Raises:
        InputError: ``rule`` is neither a rule nor a threshold.
    """
    return rule if isinstance(rule, PruningRule) else PruningRule(check_threshold(rule, "rule"))


def pruning_masks(guide: WeightGuide, rule: Rule = DEFAULT_THRESHOLD) -> dict[str, Tensor]:
    """Return masks that are True for every weight that :func:`~pyro_vd.prune` keeps, by site, for ``guide.apply_masks``.

    Args:
        guide: a trained guide that learns α.
        rule: see :func:`~pyro_vd.prune`.

    Raises:
        InputError: ``rule`` is neither a rule nor a threshold; the guide has no log α, or one that is NaN; the rule names a
            site that the guide does not have, or does not have one number of inputs per layer; or inputs with a limit cannot be
            ranked, because they have one α, or are not those of a layer.
    """
    return rule_of(rule).masks(guide)
