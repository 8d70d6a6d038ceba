"""A network that runs with given weights: its copy, its weight sites, and its forward pass."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, Self, cast

import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_vd._core.eager import eagerly, uncompiled
from pyro_vd._core.errors import UsedAgainError
from pyro_vd.inference.known_sites import parameters_are_told
from pyro_vd.inference.lazy_weight import LazyWeight, draw_weight
from pyro_vd.inference.reparam import KnownWeight
from pyro_vd.models.admission import admitted_copy
from pyro_vd.models.gradient_watch import GradientWatch
from pyro_vd.models.template import Template, tensors_of
from pyro_vd.models.usage import WeightUsage
from pyro_vd.models.usage_record import UsageRecord
from pyro_vd.models.weight_sites import Selection, chosen_parameters, owner_of, shared_sites, weight_places
from pyro_vd.networks.copies import detached_copies, uncompiled_network
from pyro_vd.networks.execution import trace_execution
from pyro_vd.networks.inputs import Inputs, num_examples, run, run_apart
from pyro_vd.networks.layer_kind import LayerKind
from pyro_vd.networks.layer_registry import kind_of
from pyro_vd.networks.markers import ModelMarker
from pyro_vd.networks.modes import kept_in_evaluation_mode, put_back_in_evaluation_mode
from pyro_vd.networks.precision import MixedPrecision


class WeightedNetwork(MixedPrecision, ModelMarker, PyroModule):
    """The part of :class:`~pyro_vd.models.BayesianNetwork` that does not depend on priors and likelihoods.

    It holds a copy of a network, knows which of its weights are sample sites, and runs it with weights from outside.
    """

    net: nn.Module
    """The network; its weights are buffers, :attr:`initial_weights`."""

    def _take(
        self, net: nn.Module, shared: Collection[str], include: Selection = (), exclude: Selection = ()
    ) -> dict[str, Tensor]:
        """Copy ``net`` into this module, and return its weights by site, in the order of execution.

        Args:
            net: the network that the user gave.
            shared: names of weights that are used more than once in one forward pass.
            include: parameters that become sites beside the weights of known layers.
            exclude: parameters that do not become sites.

        Raises:
            InputError: ``net`` has no weight for a prior, or :func:`~pyro_vd.models.admission.admitted_copy` refuses it;
                ``shared`` is not a list of names of its weights; ``include`` or ``exclude`` matches no parameter.
        """
        excluded = chosen_parameters("exclude", exclude, net)
        net = admitted_copy(net, excluded)
        self._evaluated = kept_in_evaluation_mode(net)
        places = weight_places(net, chosen_parameters("include", include, net), excluded)
        self.shared: frozenset[str] = shared_sites(shared, places)
        if (execution := trace_execution(net)) is not None:
            places = dict(sorted(places.items(), key=lambda site: execution.rank_of(site[1])))
        self._template = Template(net, places)
        self._usage: UsageRecord = UsageRecord(net, self._template.sites, execution)
        _as_never_run(net)
        self.net = net
        self.gradient_watch: GradientWatch = GradientWatch(places)
        return self.initial_weights

    def take_smaller(self, net: nn.Module) -> None:
        """Put a network of other sizes in the place of the present one; it has the same modules and names of parameters.

        The sites, their order, and the modules that stay in evaluation mode are those of the present network.
        """
        self._template = Template(net, self._template.sites)
        self._usage = self._usage.unwatched()
        _as_never_run(net)
        self.net = net

    @property
    def _net(self) -> nn.Module:
        return uncompiled_network(cast(nn.Module, self._modules["net"]))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = tensors_of(self._net)
        super()._apply(fn, recurse)
        self._template.moved(self._net, before)
        return self

    def train(self, mode: bool = True) -> Self:
        """Set evaluation mode, or training mode except for the modules that stay in evaluation mode."""
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
        """The names of the weight sites, in the order of execution.

        Where ``torch.fx`` cannot follow the network, they are in the order of registration.
        """
        return list(self._template.sites)

    @property
    def initial_weights(self) -> dict[str, Tensor]:
        """The weights that the network came with, by site."""
        return {name: self._net.get_buffer(name) for name in self._template.sites}

    def layer(self, name: str) -> nn.Module:
        """Return the module that a site's parameter belongs to: of several, the first layer whose weight it is."""
        return self._owner(name)[0]

    def layer_kind(self, name: str) -> LayerKind | None:
        """Return the kind of layer whose weight a site is; None for another parameter, such as a bias."""
        return self._owner(name)[1]

    def weight_axes(self, name: str) -> tuple[str, ...]:
        """Return the names of the dimensions of a site's parameter, such as ``("out", "in")``.

        See :class:`~pyro_vd.networks.LayerKind` for the names. A parameter that is not the weight of a known layer has
        ``("kernel_0", "kernel_1", …)``.
        """
        return self._owner(name)[2]

    def _owner(self, name: str) -> tuple[nn.Module, LayerKind | None, tuple[str, ...]]:
        for layer, own in (owners := [owner_of(self._net, place) for place in self._template.sites[name]]):
            if (kind := kind_of(layer)) is not None and own in (weights := kind.weights(layer)):
                return layer, kind, weights[own]
        return owners[0][0], None, tuple(f"kernel_{k}" for k in range(self._net.get_buffer(name).ndim))

    @property
    def is_followed(self) -> bool:
        """Whether it is known which layers read the data: ``torch.fx`` can follow the network, or the network has run."""
        return self._usage.is_followed

    @property
    def order_of_execution(self) -> list[str]:
        """The weight sites in the order of their first use; those of :attr:`weight_names` until :attr:`is_followed`."""
        return self._usage.order

    def reads_data(self, name: str) -> bool:
        """Return whether the layer of a site reads the data, and not the output of another layer with weights.

        Until :attr:`is_followed`, this is assumed of the layer that is registered first, and of no other.
        """
        return self._usage.reads_data(name)

    @uncompiled
    def output(self, weights: Mapping[str, Tensor], x: Inputs) -> Any:
        """Return the network's whole output for a batch ``x`` with these weights, by site."""
        usage = self._usage_for(weights, x)
        try:
            return self._run(usage, weights, x)
        except UsedAgainError:  # in this batch only: what follows depends on the data
            usage = self.watch_use(x)
            unused = {name: w.over(lambda t: t) if isinstance(w, LazyWeight) else w for name, w in weights.items()}
            return self._run(usage, unused, x)

    def _run(self, usage: WeightUsage, weights: Mapping[str, Tensor], x: Inputs) -> Any:
        """Run the network with weights that were not used yet, which it uses in these ways."""
        drawn = self.shared | usage.to_draw(self._template.sites)
        learns = self.training and torch.is_grad_enabled()
        if learns:
            weights = self.gradient_watch.over(weights)
        tensors: dict[str, Tensor] = {}
        for name, places in self._template.sites.items():
            weight = draw_weight(weights[name]) if name in drawn else weights[name]
            if usage.run_again and name not in usage.as_leaf and not isinstance(weight, LazyWeight):
                weight = KnownWeight(weight)
            tensors.update(dict.fromkeys(places, weight))
        if lazy := [weight for weight in weights.values() if isinstance(weight, LazyWeight)]:
            examples = num_examples(x)
            for each in lazy:  # before the network runs, of which activation checkpointing repeats parts
                each.draw_shared(examples)
        if parameters_are_told():
            _ = self.net  # this access tells Pyro the network's parameters
        net = self._template.filled(self._net, tensors, apart=not self.training)
        with eagerly():
            result = self.in_precision(run_apart if usage.changes_inputs else run, net, x)
        if self.training:
            self._template.keep_changes(self._net, net)
        if learns:
            self.gradient_watch.through(result)
        return result

    def _usage_for(self, weights: Mapping[str, Tensor], x: Inputs) -> WeightUsage:
        """Return how the forward pass uses the weights; it is watched the first time that it runs in the present mode."""
        usage = self._usage.of_mode(self.training)
        if usage is None:
            if any(torch._C._functorch.is_functorch_wrapped_tensor(weight) for weight in weights.values()):
                return WeightUsage(Counter(self._template.sites))  # inside torch.vmap, which allows no separate run
            usage = self.watch_use(x)
        return usage

    def watch_use(self, x: Inputs) -> WeightUsage:
        """Run the network once on a batch, in its present mode, to record how it uses its weights; nothing else changes.

        Returns:
            How it has used them in all runs so far in this mode.

        Raises:
            InputError: the forward pass changes a weight in place, makes new parameters, or reaches parameters that are not
                those of its own modules.
        """
        return self._usage.add(self.training, self._template.watch(self._net, self.initial_weights, x))

    def apart(self) -> Self:
        """Return a model with its own modules and buffers, for a trial run that does not change this model.

        Everything else is shared with this model, weights and parameters too.
        """
        model = cast(Self, self._template.apart(self, "net"))
        model.__dict__["_usage"] = self._usage.copied()
        return model

    def to_module(self, weights: dict[str, Tensor]) -> nn.Module:
        """Return a copy of the network in evaluation mode, an ordinary module without Pyro, with these weights, by site."""
        return self._template.plain(self._net, weights)


def _as_never_run(net: nn.Module) -> None:
    """Clear the mark of Pyro's modules that have run: Pyro refuses to put them into another, and tracing has run the copy."""
    for module in net.modules():
        if isinstance(module, PyroModule):
            module._pyro_context.used = False
