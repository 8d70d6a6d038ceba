"""How a network's forward pass uses its weights, found by running it once and watching."""

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
from pyro_vd.inference.tensor_functions import (
    DATA,
    NO_GRADIENT_OF_ITS_OWN,
    check_not_changed,
    is_question,
    replaced,
)
from pyro_vd.networks.layer_registry import LINEAR_MAPS


@dataclass
class WeightUsage:
    """What a forward pass did with the weights, by site."""

    linear: Counter[str] = field(default_factory=Counter)
    """How often each was the weight of a linear map, in the order of the first use."""
    otherwise: set[str] = field(default_factory=set)
    """Those that something else was done with."""
    read_data: set[str] = field(default_factory=set)
    """Those whose linear map was given what does not depend on any weight."""
    run_again: bool = False
    """Whether a part of the network ran without gradients, as reentrant activation checkpointing does."""

    def to_draw(self, sites: Iterable[str]) -> frozenset[str]:
        """Those of the sites that must be drawn themselves, once: a draw of an output would not do for them.

        A weight that nothing was seen to be done with is among them: code in another language may use it.
        """
        return frozenset(name for name in sites if name in self.otherwise or self.linear[name] != 1)


class _Watched(Tensor):
    """A weight that notes what is done with it."""

    value_: Tensor
    site_: str
    usage_: WeightUsage

    @classmethod
    def of(cls, value: Tensor, site: str, usage: WeightUsage) -> Self:
        weight = Tensor._make_subclass(cls, value.detach())
        weight.value_, weight.site_, weight.usage_ = value, site, usage
        return weight

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in NO_GRADIENT_OF_ITS_OWN:
            return args[0] if func is Tensor.requires_grad_ else None
        if is_question(func, args, kwargs, _Watched):
            return func(*_plain(args), **_plain(kwargs))
        weight = next(each for each in _watched((args, kwargs)))
        check_not_changed(func, args, kwargs, _Watched, f"the weight {weight.site_!r}")
        if func in DATA:
            return _Watched.of(weight.value_.detach(), weight.site_, weight.usage_)
        usage = weight.usage_
        arguments = LINEAR_MAPS[func].by_name(args, kwargs) if func in LINEAR_MAPS else {}
        for each in _watched((args, kwargs)):
            usage.run_again |= not torch.is_grad_enabled()
            if each is arguments.get("weight") and each is not arguments.get("input"):
                usage.linear[each.site_] += 1
                if not arguments["input"].requires_grad and torch.is_grad_enabled():
                    usage.read_data.add(each.site_)
            elif each is not arguments.get("bias"):
                usage.otherwise.add(each.site_)
        return func(*_plain(args), **_plain(kwargs))


class _OnlyItsOwn(TorchFunctionMode):
    """Notes parameters that are none of the network's modules': all of those stand in for parameters in this pass."""

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


def _watched(tree: Any) -> list[_Watched]:
    if isinstance(tree, _Watched):
        return [tree]
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    return [each for item in tree for each in _watched(item)] if isinstance(tree, tuple | list) else []


def _plain(tree: Any) -> Any:
    return replaced(tree, _Watched, lambda weight: weight.value_)


def watch_forward(
    network: Callable[[Mapping[str, Tensor]], nn.Module],
    weights: Mapping[str, Tensor],
    places: Mapping[str, list[str]],
    others: Mapping[str, Tensor],
    layers: Iterable[str],
    x: Tensor,
) -> WeightUsage:
    """Run a forward pass for what it does with its weights. The random state is left as it was.

    Args:
        network: makes the network to run, of tensors by name.
        weights: a value of each, by site.
        places: the names in the network of each.
        others: the network's other tensors, by name; it runs with copies.
        layers: those of them that are weights of layers as well: what comes after them is no data.
        x: the network's inputs.

    Raises:
        InputError: the forward pass changes a weight in place, makes new modules or parameters, or reaches other parameters.
    """
    usage = WeightUsage()
    with (
        generators_kept(x.device),
        torch.inference_mode(False),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # what there is to warn of is said again by the first real pass
        values = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
        tensors = {name: tensor.detach().clone() for name, tensor in others.items()}
        for name in layers:
            tensors[name].requires_grad_()
        x = x.clone() if x.is_inference() else x
        versions = {name: value._version for name, value in values.items()}
        watched = {name: _Watched.of(value, name, usage) for name, value in values.items()}
        for name, weight in watched.items():
            tensors |= dict.fromkeys(places[name], weight)
        net = network(tensors)
        names = dict(net.named_parameters(remove_duplicate=False))
        with eagerly(), _OnlyItsOwn() as looked:
            net(x)
    for name, value in values.items():
        if value._version != versions[name] or not torch.equal(value, weights[name]):
            raise InputError(
                f"the weight {name!r} is changed in place in the network's forward pass; it is drawn anew in every pass, and "
                "the change would be lost. Compute with a changed copy instead, or use torch.nn.utils.parametrize"
            )
    after = dict(net.named_parameters(remove_duplicate=False))
    if changed := [name for name in {**names, **after} if names.get(name) is not after.get(name)]:
        raise InputError(
            f"the network's forward pass makes or replaces parameters: {', '.join(changed)}; they would not be trained. Make "
            "them when the network is built"
        )
    if looked.foreign:
        raise InputError(
            f"the network's forward pass reaches parameters of the shapes {sorted(looked.foreign)} that are not those of its "
            "own modules, such as through a lambda, a weak reference or a compiled method made before: they would not be "
            "trained. Reach them through self in forward"
        )
    return usage
