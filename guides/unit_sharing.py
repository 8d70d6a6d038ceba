"""Factors that the sites of a model share, because their units must be kept or removed together."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pyro_vd.compaction import UnitGroups, unit_groups
from pyro_vd.distributions.unit_layout import UnitLayout
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.networks.inputs import Inputs

logger: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UnitSharing:
    """Which sites have factors in common.

    Sites that are linked by common factors form a family. All factors of a family are one vector, that of the site
    whose name comes first in the alphabet, so that a state does not depend on the order in which the layers run.

    Attributes:
        layouts: by site, which factor of the family each input has.
        first: by site, the site of its family that has the factors; a site alone is its own.
        numbers: by site, ``(inputs,)``, a number per input, where the same number means the same factor, in whatever site; None
            where nothing is shared.
    """

    layouts: dict[str, UnitLayout]
    first: dict[str, str]
    numbers: dict[str, Tensor] | None = None

    @classmethod
    def of(cls, layouts: Mapping[str, UnitLayout], numbers: Mapping[str, Tensor] | None) -> UnitSharing:
        """Return the sharing that these numbers say.

        Args:
            layouts: by site, the layout without sharing.
            numbers: see :attr:`numbers`.
        """
        if numbers is None:
            return cls(dict(layouts), {name: name for name in layouts})
        families: list[tuple[list[str], set[int]]] = []
        for name in layouts:
            members, found = [name], set(numbers[name].tolist())
            for family in [family for family in families if family[1] & found]:
                families.remove(family)
                members, found = [*family[0], *members], found | family[1]
            families.append((members, found))
        shared, first = {}, {}
        for members, found in families:
            members = [name for name in layouts if name in members]
            of_family = torch.tensor(sorted(found))
            for name in members:
                own = layouts[name]
                index = torch.searchsorted(of_family, numbers[name].cpu())
                is_each = len(index) == len(of_family) and torch.equal(index, torch.arange(len(index)))
                of_input, units = (None, None) if is_each else (index, len(of_family))
                shared[name] = UnitLayout(own.inputs, own.axis, own.groups, of_input, units)
                first[name] = min(members)
        return cls(
            {name: shared[name] for name in layouts},
            {name: first[name] for name in layouts},
            {name: numbers[name].cpu() for name in layouts},
        )

    def has(self, numbers: Mapping[str, Tensor] | None) -> bool:
        """Whether the numbers are those of this sharing."""
        if numbers is None or self.numbers is None:
            return numbers is self.numbers
        return all(torch.equal(numbers[name].cpu(), own) for name, own in self.numbers.items())

    def numbers_of(self, name: str) -> Tensor:
        """Return the numbers of the factors of a site's family, in their order; empty where nothing is shared."""
        numbers = {} if self.numbers is None else self.numbers
        return torch.cat([numbers[each] for each in self.family(name) if each in numbers]).unique()

    def family(self, name: str) -> list[str]:
        """Return the sites that share factors with a site, and the site itself, in their order."""
        return self._families[self.first[name]]

    @cached_property
    def _families(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, first in self.first.items():
            found.setdefault(first, []).append(name)
        return found


def shared_numbers(model: BayesianNetwork, layouts: Mapping[str, UnitLayout], example: Inputs) -> dict[str, Tensor] | None:
    """Return a number per input of every site, the same for inputs whose units must be kept or removed together.

    Units that cannot be removed, such as those that a softmax reads, are not shared: each site has its own number
    for them. So are the inputs of parameters that belong to no known layer, and rows of an embedding. The inputs that are the
    values of one attention head have one number.

    Args:
        model: the Bayesian network.
        layouts: by site, the layout without sharing.
        example: a batch that the network takes.

    Returns:
        The numbers by site, or None where the network cannot be followed, which a log message says.

    Raises:
        InputError: the example does not fit the network.
    """
    net = model.to_module(model.initial_weights)
    found = unit_groups(net, example)
    if found.reason is not None:
        logger.warning("every layer has scales of its own, because the network cannot be followed: %s", found.reason)
        return None
    places: dict[int, list[str]] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        places.setdefault(id(parameter), []).append(name)
    together = _heads_together(found)
    numbers: dict[str, Tensor] = {}
    known: dict[tuple[str, int], int] = {}
    for name, layout in layouts.items():
        own = torch.arange(layout.inputs) if layout.of_input is None else layout.of_input.cpu()
        names = places[id(net.get_parameter(name))]
        groups = next((found.groups[each] for each in names if each in found.groups), {})
        keys = [(name, -1 - unit) for unit in own.tolist()]
        across = next((found.across[each] for each in names if each in found.across), None)
        of_inputs = None if layout.of_input is not None else across if layout.groups > 1 else groups.get(layout.axis)
        if model.layer_kind(name) is not None and of_inputs is not None and len(of_inputs) == layout.inputs:
            owners = [name if is_fixed else "" for is_fixed in torch.isin(of_inputs, found.fixed).tolist()]
            keys = list(zip(owners, together[of_inputs].tolist(), strict=True))
        numbers[name] = torch.tensor([known.setdefault(key, len(known)) for key in keys])
    return numbers


def _heads_together(found: UnitGroups) -> Tensor:
    """Return, for each group, the least of the groups that belong to the same attention head."""
    used = [*found.across.values(), *(groups for by_dim in found.groups.values() for groups in by_dim.values())]
    least = torch.arange(1 + max((int(groups.max()) for groups in used if len(groups)), default=-1))
    for heads in found.heads:
        for head in heads.value:
            members = torch.isin(least, least[head])
            least[members] = least[members].min()
    return least
