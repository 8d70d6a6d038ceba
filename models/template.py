"""The places of a network's tensors: which are replaced for a forward pass, and how an ordinary network is made again."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pyro_vd.models.usage import WeightUsage
from pyro_vd.models.watching import watch_forward
from pyro_vd.models.weight_sites import owner_of
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.inputs import Inputs
from pyro_vd.networks.layer_registry import layers_in
from pyro_vd.networks.layers import weight_name
from pyro_vd.networks.substitution import find_references, keep_changes, rewire, with_tensors


class Template:
    """The places in a network of its weights with a prior and of its frozen parameters.

    These parameters become buffers, so that no optimizer finds them. The template holds names only, no part of the network, so
    that a copy of the network can have a copy of its template.

    Args:
        net: the network; it is changed.
        sites: every name of each weight with a prior, by site.
    """

    def __init__(self, net: nn.Module, sites: Mapping[str, list[str]]) -> None:
        self.sites: dict[str, list[str]] = {name: _distinct(net, places) for name, places in sites.items()}
        frozen: dict[int, list[str]] = {}
        for name, parameter in net.named_parameters(remove_duplicate=False):
            if not parameter.requires_grad:
                frozen.setdefault(id(parameter), []).append(name)
        self._frozen = [_distinct(net, places) for places in frozen.values()]
        self._order = {path: list(module._parameters) for path, module in net.named_modules()}
        self._references = find_references(net, net.parameters())
        parts = _parts(net)
        for places in (*self.sites.values(), *self._frozen):
            parameter = net.get_parameter(places[0])
            parts[id(parameter)] = _freeze(net, places)
        self._rewire(net, parts)

    def filled(self, net: nn.Module, tensors: Mapping[str, Tensor], apart: bool = False) -> nn.Module:
        """Return new modules for one forward pass of ``net``, in which ``tensors`` have replaced its own, by name.

        Args:
            net: the network, which is not changed.
            tensors: weights, and other tensors, by name.
            apart: see :func:`~pyro_vd.networks.substitution.with_tensors`.
        """
        frozen = {place: net.get_buffer(places[0]) for places in self._frozen for place in places}
        return with_tensors(net, {**frozen, **tensors}, self._order, self._references, apart)

    def moved(self, net: nn.Module, before: Mapping[str, Tensor]) -> None:
        """Point references to the tensors of ``net`` to its present ones, after ``net.to(...)`` has replaced them.

        Args:
            net: the network with its present tensors.
            before: its earlier tensors, by name; see :func:`tensors_of`.
        """
        now = tensors_of(net)
        self._rewire(net, {**_parts(net), **{id(old): now[name] for name, old in before.items()}})

    def keep_changes(self, net: nn.Module, used: nn.Module) -> None:
        """Copy to ``net`` the attributes that a forward pass has set in ``used``, which :meth:`filled` has made of ``net``."""
        keep_changes(net, used, self._references)

    def apart(self, model: nn.Module, child: str) -> nn.Module:
        """Return new modules for ``model``, with copies of the buffers that a forward pass can change.

        Everything else is shared with ``model``, weights and parameters too.

        Args:
            model: the model, which is not changed.
            child: the name of the network in it.
        """
        fixed = {f"{child}.{place}" for places in (*self.sites.values(), *self._frozen) for place in places}
        clones: dict[int, Tensor] = {}
        buffers = {name: buffer for name, buffer in model.named_buffers(remove_duplicate=False) if name not in fixed}
        for buffer in buffers.values():
            clones.setdefault(id(buffer), buffer.clone())
        references = {f"{child}.{path}".rstrip("."): names for path, names in self._references.items()}
        return with_tensors(model, {name: clones[id(buffer)] for name, buffer in buffers.items()}, {}, references, apart=True)

    def plain(self, net: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
        """Return a copy of ``net`` in evaluation mode, an ordinary network with these weights, by site."""
        values = [(places, net.get_buffer(places[0]), False) for places in self._frozen]
        values += [(places, weights[name], True) for name, places in self.sites.items()]
        made = [(places, nn.Parameter(value.detach().clone(), requires_grad=learnt)) for places, value, learnt in values]
        net = copy_network(net, {id(net.get_buffer(places[0])): parameter for places, parameter in made})
        for places, parameter in made:
            for place in places:
                owner, attribute = owner_of(net, place)
                del owner._buffers[attribute]
                owner._parameters[attribute] = parameter
        for path, names in self._order.items():
            module = net.get_submodule(path)
            module._parameters = {name: module._parameters[name] for name in names}
        return net.eval()

    def watch(self, net: nn.Module, weights: Mapping[str, Tensor], x: Inputs) -> WeightUsage:
        """Run ``net`` once, in its present mode, and return how it uses its weights; ``net`` is not changed.

        Args:
            net: the network.
            weights: a value of each weight, by site.
            x: a batch of inputs.

        Raises:
            InputError: see :func:`~pyro_vd.models.watching.watch_forward`.
        """
        own = {place for places in self.sites.values() for place in places}
        tensors = (*net.named_parameters(remove_duplicate=False), *net.named_buffers(remove_duplicate=False))
        others = {name: tensor for name, tensor in tensors if name not in own}
        layers = layers_in(net, remove_duplicate=False)
        frozen = {weight_name(path, name) for path, module, kind in layers for name in kind.weights(module)} & others.keys()
        return watch_forward(lambda tensors: self.filled(net, tensors, apart=True), weights, self.sites, others, frozen, x)

    def _rewire(self, net: nn.Module, parts: Mapping[int, object]) -> None:
        for path, attributes in self._references.items():
            rewire(net.get_submodule(path), attributes, parts)


def tensors_of(net: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by all their names."""
    return {**dict(net.named_parameters(remove_duplicate=False)), **dict(net.named_buffers(remove_duplicate=False))}


def _parts(net: nn.Module) -> dict[int, object]:
    return {id(part): part for part in (*net.modules(), *net.parameters(), *net.buffers())}


def _distinct(net: nn.Module, places: list[str]) -> list[str]:
    """Return one name per module and attribute; a module, and with it a parameter, may have several names."""
    return list({owner_of(net, place): place for place in places}.values())


def _freeze(net: nn.Module, places: list[str]) -> Tensor:
    """Turn a parameter into a buffer with the same values, which no optimizer finds, and return the buffer."""
    value: Tensor = net.get_parameter(places[0]).detach()
    for place in places:
        owner, attribute = owner_of(net, place)
        del owner._parameters[attribute]
        owner.register_buffer(attribute, value)
    return value
