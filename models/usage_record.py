"""The record of how a network uses its weights: the order of the layers, which of them read the data, and what a run showed."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import nn

from pyro_vd.models.usage import WeightUsage
from pyro_vd.networks.execution import Execution
from pyro_vd.networks.layer_registry import layers_in
from pyro_vd.networks.layers import weight_name


class UsageRecord:
    """A record of how a network uses its weights.

    There are two sources. ``torch.fx`` follows most networks when the model is built, without running them. And every network
    is watched the first time it runs in each mode, training and evaluation. The record holds names only, no part of the
    network, so that a copy of the network can have a copy of its record.

    Args:
        net: the network.
        sites: every name of each weight with a prior, by site.
        execution: what ``torch.fx`` has found; None where it cannot follow the network.
    """

    def __init__(self, net: nn.Module, sites: Mapping[str, list[str]], execution: Execution | None) -> None:
        first = next(layers_in(net), None)
        own = [] if first is None else [weight_name(first[0], name) for name in first[2].weights(first[1])]
        self._first = frozenset(own)
        self._sites, self._execution = sites, execution
        self._watched: dict[bool, WeightUsage] = {}

    @property
    def is_followed(self) -> bool:
        """Whether it is known which layers read the data: ``torch.fx`` can follow the network, or the network has run."""
        return self._execution is not None or bool(self._watched)

    @property
    def order(self) -> list[str]:
        """The sites in the order of execution where :attr:`is_followed`, otherwise in the order of registration."""
        names = list(self._sites)
        for usage in self._watched.values():
            if self._execution is None:
                used = [name for name in usage.linear if name in self._sites]
                return [*used, *(name for name in names if name not in used)]
        return names

    def reads_data(self, name: str) -> bool:
        """Return whether the layer of a site reads the data, and not the output of another layer with weights.

        Until :attr:`is_followed`, this is assumed of the layer that is registered first, and of no other.
        """
        if self._execution is not None:
            return self._execution.reads_data(self._sites[name])
        for usage in self._watched.values():
            return name in usage.read_data
        return name in self._first

    def of_mode(self, training: bool) -> WeightUsage | None:
        """Return what the watched run in this mode has shown; None before that run."""
        return self._watched.get(training)

    def add(self, training: bool, usage: WeightUsage) -> WeightUsage:
        """Record what a watched run in this mode has shown, and return what all of them have shown."""
        before = self._watched.get(training)
        self._watched[training] = usage if before is None else before.merged(usage)
        return self._watched[training]

    def unwatched(self) -> UsageRecord:
        """Return a record for a network of the same modules that has not run yet."""
        other = copy.copy(self)
        other._watched = {}
        return other

    def copied(self) -> UsageRecord:
        """Return a record with the same content, to which runs can be added independently."""
        other = copy.copy(self)
        other._watched = dict(self._watched)
        return other
