"""A network that is run with weights that it is given: what it does with them, and how they are put into it."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, Self, cast

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_vd._core.eager import eagerly, uncompiled
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import did_you_mean, one_line, quoted
from pyro_vd.inference.lazy_weight import LazyWeight, draw_weight
from pyro_vd.inference.reparam import KnownWeight
from pyro_vd.models.admission import check_admission
from pyro_vd.models.gradient_watch import GradientWatch
from pyro_vd.models.template import Template, tensors_of
from pyro_vd.models.usage import WeightUsage
from pyro_vd.models.weight_sites import owner_of, weight_owners
from pyro_vd.networks.copies import copy_network, detached_copies, uncompiled_network
from pyro_vd.networks.execution import trace_execution
from pyro_vd.networks.layer_kind import LayerKind
from pyro_vd.networks.layer_registry import kind_of, layer_classes, layers_in
from pyro_vd.networks.layers import weight_name
from pyro_vd.networks.markers import ModelMarker
from pyro_vd.networks.modes import kept_in_evaluation_mode, put_back_in_evaluation_mode


class WeightedNetwork(ModelMarker, PyroModule):
    """What :class:`~pyro_vd.models.BayesianNetwork` is of any network, whatever is to be inferred of its weights."""

    def _take(self, net: nn.Module, shared: Collection[str]) -> dict[str, Tensor]:
        """Copy ``net`` in, and give its weights by site, in the order of execution.

        Raises:
            InputError: see :class:`~pyro_vd.models.BayesianNetwork`.
        """
        check_admission(net)
        try:
            net = copy_network(net)
        except (RuntimeError, TypeError) as error:
            raise InputError(f"{type(net).__name__} cannot be copied: {one_line(error)}") from error
        self._evaluated = kept_in_evaluation_mode(net)
        owners = dict(weight_owners(net))
        tied = {name for name, places in owners.items() if len(places) > 1}
        if not owners:
            raise InputError(
                f"{type(net).__name__} has no weight to put a prior on: none of its layers is one of "
                f"{', '.join(layer_classes())} with a weight that is not frozen"
            )
        if isinstance(shared, str) or not isinstance(shared, Collection) or not all(isinstance(each, str) for each in shared):
            raise InputError(name="shared", value=shared, allowed="a list of names of weights")
        if unknown := sorted(set(shared) - set(owners)):
            meant = did_you_mean(unknown[0], owners)
            raise InputError(f"shared (={quoted(unknown)}) must name weights of the network: {', '.join(owners)}{meant}")
        self.shared: frozenset[str] = frozenset(shared) | tied
        self._execution = trace_execution(net)
        if (execution := self._execution) is not None:
            owners = dict(sorted(owners.items(), key=lambda owner: execution.rank_of(owner[1])))
        self._template = Template(net, owners)
        _as_never_run(net)
        self.net = net
        self._usage: dict[bool, WeightUsage] = {}
        self.gradient_watch: GradientWatch = GradientWatch(owners)
        return self.initial_weights

    @property
    def _net(self) -> nn.Module:
        return uncompiled_network(cast(nn.Module, self._modules["net"]))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = tensors_of(self._net)
        super()._apply(fn, recurse)
        self._template.moved(self._net, before)
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode, but for the modules that stay in evaluation mode; or evaluation mode."""
        super().train(mode)
        if mode:
            put_back_in_evaluation_mode(self._net, self._evaluated)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo |= detached_copies(self)
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__setstate__(copy.deepcopy(vars(self), memo))
        return copied

    @property
    def weight_names(self) -> list[str]:
        """The names of the weight sites, in the order of execution; of registration where ``torch.fx`` cannot follow."""
        return list(self._template.sites)

    @property
    def initial_weights(self) -> dict[str, Tensor]:
        """The weights that the network came with, by site."""
        return {name: self._net.get_buffer(name) for name in self._template.sites}

    def layer(self, name: str) -> nn.Module:
        """The layer that a site's weight belongs to; the first of a registered kind, if it is shared."""
        return self._owner(name)[0]

    def layer_kind(self, name: str) -> LayerKind:
        """The kind of the layer that a site's weight belongs to."""
        return self._owner(name)[1]

    def weight_axes(self, name: str) -> tuple[str, ...]:
        """The names of the dimensions of a site's weight, such as ``out``, ``in``; see :class:`~pyro_vd.networks.LayerKind`."""
        return self._owner(name)[2]

    def _owner(self, name: str) -> tuple[nn.Module, LayerKind, tuple[str, ...]]:
        owners = (owner_of(self._net, place) for place in self._template.sites[name])
        found = ((layer, kind, kind.weights(layer).get(own)) for layer, own in owners if (kind := kind_of(layer)) is not None)
        return next((layer, kind, axes) for layer, kind, axes in found if axes is not None)

    @property
    def is_followed(self) -> bool:
        """Whether it is known what the layers read: ``torch.fx`` can follow the network, or it has run."""
        return self._execution is not None or bool(self._usage)

    @property
    def order_of_execution(self) -> list[str]:
        """The weight sites as they are used; as :attr:`weight_names` until the network has run, where it cannot be followed."""
        for usage in self._usage.values():
            if self._execution is None:
                used = [name for name in usage.linear if name in self._template.sites]
                return [*used, *(name for name in self.weight_names if name not in used)]
        return self.weight_names

    def reads_data(self, name: str) -> bool:
        """Whether the layer of a site reads the data, not what another layer with weights has made of them.

        Until :attr:`is_followed` the layer that is registered first is taken to do so, and no other.
        """
        if self._execution is not None:
            return self._execution.reads_data(self._template.sites[name])
        for usage in self._usage.values():
            return name in usage.read_data
        path, layer, kind = next(layers_in(self._net))
        return name in {weight_name(path, own) for own in kind.weights(layer)}

    @uncompiled
    def output(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """The network's output for ``x`` with these weights, by site."""
        usage = self._usage_for(weights, x)
        drawn = self.shared | usage.to_draw(self._template.sites)
        learns = self.training and torch.is_grad_enabled()
        if learns:
            weights = self.gradient_watch.over(weights)
        tensors: dict[str, Tensor] = {}
        for name, places in self._template.sites.items():
            weight = draw_weight(weights[name]) if name in drawn else weights[name]
            if usage.run_again and not isinstance(weight, LazyWeight):
                weight = KnownWeight(weight)
            tensors.update(dict.fromkeys(places, weight))
        _ = self.net  # found by its name it registers its parameters with Pyro, where a trace is made
        net = self._template.filled(self._net, tensors, apart=not self.training)
        with eagerly():
            result: Tensor = net(x)
        if self.training:
            self._template.keep_changes(self._net, net)
        if learns:
            self.gradient_watch.through(result)
        return result

    def _usage_for(self, weights: Mapping[str, Tensor], x: Tensor) -> WeightUsage:
        """What the forward pass does with the weights, watched the first time that it runs in either mode."""
        usage = self._usage.get(self.training)
        if usage is None:
            if any(torch._C._functorch.is_functorch_wrapped_tensor(weight) for weight in weights.values()):
                return WeightUsage(Counter(self._template.sites))  # inside torch.vmap, which allows no run apart
            usage = self.watch_use(x)
        return usage

    def watch_use(self, x: Tensor) -> WeightUsage:
        """Run the network once, in the mode that it is in, for what it does with its weights; nothing of it stays.

        Raises:
            InputError: the forward pass changes a weight in place, or makes new parameters.
        """
        usage = self._template.watch(self._net, self.initial_weights, x)
        self._usage[self.training] = usage
        return usage

    def apart(self) -> Self:
        """The model as modules and buffers of their own, to try it; all else is shared, so that the model stays as it is."""
        model = cast(Self, self._template.apart(self, "net"))
        model.__dict__["_usage"] = dict(self._usage)
        return model

    def to_module(self, weights: dict[str, Tensor]) -> nn.Module:
        """A copy of the network in evaluation mode, ordinary and without Pyro, that holds these weights."""
        return self._template.plain(self._net, weights)


def _as_never_run(net: nn.Module) -> None:
    """Pyro makes no module that has run a part of another: the network given may have, and its copy was traced."""
    for module in net.modules():
        if isinstance(module, PyroModule):
            module._pyro_context.used = False
