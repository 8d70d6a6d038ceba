"""How far a guide is from a compression: by how much the thresholds would have to move for pruning to leave it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_vd.compaction import UnitGroups, unit_groups
from pyro_vd.guides.alpha import site_log_alpha
from pyro_vd.guides.unit_guide import UnitGuide
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.networks.inputs import Inputs
from pyro_vd.networks.sizes import weight_counts
from pyro_vd.pruning.rule import PruningRule


class Gauge(ABC):
    """Measures the compression |W| / |W left| that a guide stands at, fast enough to do it hundreds of times in a training.

    Args:
        guide: a guide that learns α.
        rule: with thresholds alone.
    """

    def __init__(self, guide: WeightGuide, rule: PruningRule) -> None:
        self._guide = guide
        self._thresholds: dict[str, float] = rule.site_thresholds(guide.site_names)
        self._total, _ = weight_counts(guide)

    @abstractmethod
    def shift_for(self, compression: float) -> float:
        """Return the number to add to all thresholds, in units of log α, for pruning to leave this compression.

        It is negative where the weights have not yet reached the thresholds, and 0 where the compression is reached. It never
        goes so far that nothing would be left of a layer, unless nothing is left at the thresholds as they are.
        """

    def compression(self) -> float:
        """Return the compression at the thresholds."""
        return self._total / max(1, self._total_left())

    @abstractmethod
    def _total_left(self) -> int:
        """The number of weights that pruning at the thresholds leaves."""

    def _beyond(self, name: str) -> Tensor:
        """By how much the log α of each weight of a site is beyond its threshold."""
        return site_log_alpha(self._guide, name) - self._thresholds[name]


class WeightGauge(Gauge):
    """Counts single weights; those without a prior are never removed."""

    @torch.no_grad()
    def _total_left(self) -> int:
        return self._total - sum(int((self._beyond(name) >= 0).count_nonzero()) for name in self._guide.site_names)

    @torch.no_grad()
    def shift_for(self, compression: float) -> float:
        sites = [self._beyond(name).flatten() for name in self._guide.site_names]
        beyond = torch.cat(sites)
        left = round(self._total / compression) - (self._total - beyond.numel())
        shift = beyond.kthvalue(min(max(left, 0) + 1, beyond.numel())).values
        floor = _floor(sites)
        if shift <= floor:  # the last weight of a layer would go
            above = beyond[beyond > floor]
            shift = above.min().clamp_max(0) if len(above) else shift.new_zeros(())
        return float(shift)


class UnitGauge(Gauge):
    """Counts the weights of the units that compaction would leave: a unit goes where all weights that read it are removed.

    Units that cannot go for other reasons, such as unequal numbers in the heads of an attention, are counted as removed.

    Args:
        guide, rule: see :class:`Gauge`.
        groups: of the guide's network: which units go together.
    """

    def __init__(self, guide: WeightGuide, rule: PruningRule, groups: UnitGroups) -> None:
        super().__init__(guide, rule)
        net = guide.model.to_module(guide.model.initial_weights)
        names: dict[int, list[str]] = {}
        for name, parameter in net.named_parameters(remove_duplicate=False):
            names.setdefault(id(parameter), []).append(name)
        weights = {alias: (names[id(weight)], weight.shape) for alias, weight in net.named_parameters() if weight.ndim >= 2}
        self._of: dict[tuple[str, int], Tensor] = {}
        """By alias and dimension, the number of the unit of each index."""
        self._read: dict[str, tuple[int, Tensor]] = {}
        """By site, the dimension of its inputs, or the number of groups of inputs where there are several, and their units."""
        self._stays: list[Tensor] = [groups.fixed]
        self._shapes = {alias: shape for alias, (_, shape) in weights.items()}
        used = [each for by_dim in groups.groups.values() for each in by_dim.values()] + list(groups.across.values())
        self._count = 1 + max((int(each.max()) for each in [*used, groups.fixed] if len(each)), default=-1)
        sites = {id(net.get_parameter(site)): site for site in guide.site_names}
        for alias, (aliases, shape) in weights.items():
            site = sites.get(id(net.get_parameter(alias)))
            found = next((dict(groups.groups[each]) for each in aliases if each in groups.groups), {})
            across = next((groups.across[each] for each in aliases if each in groups.across), None)
            layout = None if site is None else guide.unit_layout(site)
            if site is not None and isinstance(guide.model.layer(site), nn.Embedding | nn.EmbeddingBag):
                found[0] = torch.arange(self._count, self._count + shape[0])  # rows go one by one
                self._count += shape[0]
            self._of |= {(alias, dim): units for dim, units in found.items()}
            if site is None or layout is None:
                self._stays += found.values()
            elif layout.groups > 1 and across is not None:
                self._read[site] = layout.groups, across
            elif layout.groups == 1 and layout.axis in found:
                self._read[site] = layout.axis, found[layout.axis]

    def _least(self) -> Tensor:
        """By unit, the least that any weight that reads it is beyond its threshold; −∞ where the unit stays."""
        device = next(self._guide.parameters()).device
        least = torch.full((self._count,), torch.inf, device=device)
        for name, (axis, units) in self._read.items():
            beyond = self._beyond(name).to(least.dtype)
            if (count := self._guide.unit_layout(name).groups) > 1:
                values = beyond.unflatten(0, (count, -1)).flatten(3).amin(-1).amin(1).flatten()
            else:
                values = beyond.movedim(axis, 0).flatten(1).amin(1)
            least.scatter_reduce_(0, units.to(device), values, "amin")
        read = torch.zeros_like(least, dtype=torch.bool)
        for _, units in self._read.values():
            read[units.to(device)] = True
        for units in self._stays:
            read[units.to(device)] = False
        return least.masked_fill(~read, -torch.inf)

    def _left(self, least: Tensor, shift: float) -> int:
        """The number of weights that are left at shifted thresholds."""
        stays = least < shift
        total = 0
        for alias, shape in self._shapes.items():
            sizes = list(shape)
            for dim in range(len(sizes)):
                if (units := self._of.get((alias, dim))) is not None:
                    sizes[dim] = max(1, int(stays[units].count_nonzero()))
            total += torch.Size(sizes).numel()
        return total

    @torch.no_grad()
    def _total_left(self) -> int:
        return self._left(self._least().cpu(), 0.0)

    @torch.no_grad()
    def shift_for(self, compression: float) -> float:
        least = self._least().cpu()
        # Above this, something is left of each site and dimension: of nothing, the network would not depend on its inputs.
        floor = _floor([least[units] for units in self._of.values()] + [self._beyond(name) for name in self._guide.site_names])
        shifts = least[least > floor].unique()
        low, high = 0, len(shifts)  # the first shift that leaves too many weights is in between
        while low < high:
            middle = (low + high) // 2
            if self._left(least, float(shifts[middle])) <= self._total / compression:
                low = middle + 1
            else:
                high = middle
        return float(shifts[max(low - 1, 0)]) if len(shifts) else 0.0


def _floor(parts: Sequence[Tensor]) -> float:
    """The shift above which something is left of each part; −∞ for parts of which nothing is left at a shift of 0."""
    lowest = [float(part.min()) for part in parts if part.numel()]
    return max((each for each in lowest if each < 0), default=-math.inf)


def gauge_of(guide: WeightGuide, rule: PruningRule, example: Inputs) -> Gauge:
    """Return the gauge of a guide: of units where it learns which of them matter, and the network can be followed.

    Args:
        guide, rule: see :class:`Gauge`.
        example: a batch that the network takes.
    """
    if isinstance(guide, UnitGuide):
        groups = unit_groups(guide.model.to_module(guide.model.initial_weights), example)
        if groups.reason is None:
            return UnitGauge(guide, rule, groups)
    return WeightGauge(guide, rule)
