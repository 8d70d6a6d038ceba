"""A watched run of a network, which shows how its forward pass uses its weights."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pyro_vd._core.eager import eagerly
from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generators_kept
from pyro_vd.inference.attention import DECOMPOSED
from pyro_vd.inference.tensor_functions import (
    CHUNKS,
    DATA,
    NO_GRADIENT_OF_ITS_OWN,
    check_not_changed,
    is_question,
    replaced,
)
from pyro_vd.networks.inputs import Inputs, device_of, map_tensors, run
from pyro_vd.networks.layer_registry import linear_call


@dataclass
class WeightUsage:
    """The ways in which a forward pass used the weights."""

    linear: Counter[str] = field(default_factory=Counter)
    """The number of times that each site's weight was the weight of a linear map, in the order of the first use.

    A division of its rows by :func:`torch.chunk` counts as one use; each part is then the weight of one linear map.
    """
    parts: Counter[tuple[str, int]] = field(default_factory=Counter)
    """The number of times that each part of a site's weight was the weight of a linear map."""
    otherwise: set[str] = field(default_factory=set)
    """The sites whose weight was used in another way than as the weight or the bias of a linear map."""
    read_data: set[str] = field(default_factory=set)
    """The sites whose linear map had an input that depends on no weight."""
    run_again: bool = False
    """Whether a part of the network ran without gradients, as reentrant activation checkpointing does."""

    def to_draw(self, sites: Iterable[str]) -> frozenset[str]:
        """Return the sites whose weight must be drawn itself, once per pass, because a draw of a layer's output is not enough.

        These include the weights for which no use was seen: code in another language may use them.
        """
        more = {name for (name, _), times in self.parts.items() if times > 1}
        return frozenset(name for name in sites if name in self.otherwise | more or self.linear[name] != 1)

    def merged(self, other: WeightUsage) -> WeightUsage:
        """Return the ways of this pass and of another one, with the larger number of uses of each weight."""
        return WeightUsage(
            self.linear | other.linear,
            self.parts | other.parts,
            self.otherwise | other.otherwise,
            self.read_data | other.read_data,
            self.run_again or other.run_again,
        )


class _WatchedWeight(Tensor):
    """A weight that records every function that it is an argument of."""

    value_: Tensor
    site_: str
    usage_: WeightUsage
    part_: int | None

    @classmethod
    def of(cls, value: Tensor, site: str, usage: WeightUsage, part: int | None = None) -> Self:
        """Return a watched weight.

        Args:
            value: the weight's value, which functions receive in its place.
            site: the name of its site.
            usage: the record to write to.
            part: the place of this part of the weight's rows; None for the whole weight.
        """
        weight = Tensor._make_subclass(cls, value.detach())
        weight.value_, weight.site_, weight.usage_, weight.part_ = value, site, usage, part
        return weight

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in NO_GRADIENT_OF_ITS_OWN:
            return args[0] if func is Tensor.requires_grad_ else None
        if is_question(func, args, kwargs, _WatchedWeight):
            return func(*_plain(args), **_plain(kwargs))
        weight = next(each for each in _watched((args, kwargs)))
        check_not_changed(func, args, kwargs, _WatchedWeight, f"the weight {weight.site_!r}")
        if func in DATA:
            return _WatchedWeight.of(weight.value_.detach(), weight.site_, weight.usage_, weight.part_)
        if func in DECOMPOSED:
            return DECOMPOSED[func](*args, **kwargs)
        if func in CHUNKS and args[0] is weight and weight.part_ is None and len(args) == 2 and not kwargs:
            return weight.chunked(args[1])
        call = linear_call(func, args, kwargs)
        own, bias, inputs = (None, None, []) if call is None else call[0].roles(call[1])
        for each in _watched((args, kwargs)):
            each.usage_.run_again |= not torch.is_grad_enabled()
            if each is own and not any(each is given for given in inputs):
                each.count(is_of_data=not any(given.requires_grad for given in inputs))
            elif each is not bias:
                each.usage_.otherwise.add(each.site_)
        return func(*_plain(args), **_plain(kwargs))

    def chunked(self, count: int) -> tuple[Tensor, ...]:
        """Record that the rows are divided, and return the parts."""
        self.usage_.linear[self.site_] += 1
        parts = self.value_.chunk(count)
        return tuple(_WatchedWeight.of(value, self.site_, self.usage_, part) for part, value in enumerate(parts))

    def count(self, is_of_data: bool) -> None:
        """Record a use as the weight of a linear map."""
        if self.part_ is None:
            self.usage_.linear[self.site_] += 1
        else:
            self.usage_.parts[self.site_, self.part_] += 1
        if is_of_data and torch.is_grad_enabled():
            self.usage_.read_data.add(self.site_)


class _ForeignParameters(TorchFunctionMode):
    """A record of the learnt parameters that are arguments of a function but do not belong to the network's own modules.

    In a watched run, plain tensors have replaced all parameters of the network's own modules, so that any other is foreign.
    """

    def __init__(self) -> None:
        super().__init__()
        self.foreign: set[tuple[int, ...]] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not is_question(func, args, kwargs, nn.Parameter):
            given = (*args, *kwargs.values())
            self.foreign |= {tuple(p.shape) for p in given if isinstance(p, nn.Parameter) and p.requires_grad}
        return func(*args, **kwargs)


def _watched(tree: Any) -> list[_WatchedWeight]:
    if isinstance(tree, _WatchedWeight):
        return [tree]
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    return [each for item in tree for each in _watched(item)] if isinstance(tree, tuple | list) else []


def _plain(tree: Any) -> Any:
    return replaced(tree, _WatchedWeight, lambda weight: weight.value_)


def watch_forward(
    network: Callable[[Mapping[str, Tensor]], nn.Module],
    weights: Mapping[str, Tensor],
    places: Mapping[str, list[str]],
    others: Mapping[str, Tensor],
    layers: Iterable[str],
    x: Inputs,
) -> WeightUsage:
    """Run a forward pass and return how it uses the weights. The random state stays as it was.

    Args:
        network: makes the network to run from tensors by name.
        weights: a value of each weight, by site.
        places: the names in the network of each weight, by site.
        others: the network's other tensors, by name; the run uses copies of them.
        layers: the names among ``others`` of weights of layers without a prior; their output does not count as data.
        x: a batch of the network's inputs.

    Raises:
        InputError: the forward pass changes a weight in place, makes new modules or parameters, or reaches parameters that are
            not those of its own modules.
    """
    usage = WeightUsage()
    with (
        generators_kept(device_of(x)),
        torch.inference_mode(False),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # the first real pass gives the same warnings
        values = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
        tensors = {name: tensor.detach().clone() for name, tensor in others.items()}
        for name in layers:
            tensors[name].requires_grad_()
        x = map_tensors(lambda tensor: tensor.clone() if tensor.is_inference() else tensor, x)
        versions = {name: value._version for name, value in values.items()}
        watched = {name: _WatchedWeight.of(value, name, usage) for name, value in values.items()}
        for name, weight in watched.items():
            tensors |= dict.fromkeys(places[name], weight)
        net = network(tensors)
        names = dict(net.named_parameters(remove_duplicate=False))
        with eagerly(), _ForeignParameters() as others_used:
            run(net, x)
    for name, value in values.items():
        if value._version != versions[name] or not torch.equal(value, weights[name]):
            raise InputError(
                f"the weight {name!r} is changed in place in the network's forward pass; it is drawn anew in every pass, and "
                "the change would be lost. Compute with a changed copy instead, or use torch.nn.utils.parametrize",
                name=name,
            )
    after = dict(net.named_parameters(remove_duplicate=False))
    if changed := [name for name in {**names, **after} if names.get(name) is not after.get(name)]:
        raise InputError(
            f"the network's forward pass makes or replaces the parameters {', '.join(changed)}, which would not be trained; "
            "make them when the network is built",
            name="net",
            value=changed,
        )
    if shapes := sorted(others_used.foreign):
        raise InputError(
            f"the network's forward pass uses parameters of the shapes {shapes} that are not those of its own modules, and "
            "would not be trained; the cause may be a lambda, a weak reference or a method that was compiled before. Use "
            "parameters through self in forward",
            name="net",
            value=shapes,
        )
    return usage
