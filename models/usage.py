"""The ways in which a forward pass uses its weights, and a tensor type that records them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor

from pyro_vd.inference.attention import DECOMPOSED
from pyro_vd.inference.tensor_functions import (
    CHUNKS,
    DATA,
    NO_GRADIENT_OF_ITS_OWN,
    check_not_changed,
    is_question,
    replaced,
)
from pyro_vd.networks.inputs import tensors_in
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
    """The sites whose weight was used in another way than as the weight or the bias of a linear map.

    A linear map inside ``torch.func.vmap`` and the like is another way, and so is one whose gradient the forward pass itself
    computes: the derivative of a drawn output by its input is not that of the output of a drawn weight.
    """
    read_data: set[str] = field(default_factory=set)
    """The sites whose linear map had an input that depends on no weight."""
    as_leaf: set[str] = field(default_factory=set)
    """The sites whose weight was an argument of a custom ``torch.autograd.Function``, which asks no tensor type."""
    changes_inputs: bool = False
    """Whether inputs were changed in place."""
    run_again: bool = False
    """Whether a part of the network ran without gradients, as reentrant activation checkpointing does."""

    def to_draw(self, sites: Iterable[str]) -> frozenset[str]:
        """Return the sites whose weight must be drawn itself, once per pass, because a draw of a layer's output is not enough.

        These include the weights for which no use was seen: code in another language may use them.
        """
        otherwise = self.otherwise | self.as_leaf | {name for (name, _), times in self.parts.items() if times > 1}
        return frozenset(name for name in sites if name in otherwise or self.linear[name] != 1)

    def merged(self, other: WeightUsage) -> WeightUsage:
        """Return the ways of this pass and of another one, with the larger number of uses of each weight."""
        return WeightUsage(
            self.linear | other.linear,
            self.parts | other.parts,
            self.otherwise | other.otherwise,
            self.read_data | other.read_data,
            self.as_leaf | other.as_leaf,
            self.changes_inputs or other.changes_inputs,
            self.run_again or other.run_again,
        )


class WatchedWeight(Tensor):
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
        weight = Tensor._make_subclass(cls, value.detach(), value.requires_grad)  # a leaf of its own: see :func:`leaves_of`
        weight.value_, weight.site_, weight.usage_, weight.part_ = value, site, usage, part
        return weight

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in NO_GRADIENT_OF_ITS_OWN:
            return args[0] if func is Tensor.requires_grad_ else None
        if is_question(func, args, kwargs, WatchedWeight):
            return func(*_plain(args), **_plain(kwargs))
        weight = next(each for each in _watched((args, kwargs)))
        check_not_changed(func, args, kwargs, WatchedWeight, f"the weight {weight.site_!r}")
        if func in DATA:
            return WatchedWeight.of(weight.value_.detach(), weight.site_, weight.usage_, weight.part_)
        if func in DECOMPOSED:
            return DECOMPOSED[func](*args, **kwargs)
        if func in CHUNKS and args[0] is weight and weight.part_ is None and len(args) == 2 and not kwargs:
            return weight.chunked(args[1])
        call = linear_call(func, args, kwargs)
        own, bias, inputs = (None, None, []) if call is None else call[0].roles(call[1])
        counted = None
        for each in _watched((args, kwargs)):
            each.usage_.run_again |= not torch.is_grad_enabled()
            if each is own and not any(each is given or is_functorch_wrapped_tensor(given) for given in inputs):
                each.count(is_of_data=not any(given.requires_grad for given in inputs))
                counted = each
            elif each is not bias:
                each.usage_.otherwise.add(each.site_)
        output = func(*_plain(args), **_plain(kwargs))
        if counted is not None and output.requires_grad:  # the hook is called where the forward pass computes a gradient
            output.register_hook(lambda _: counted.usage_.otherwise.add(counted.site_))
        return output

    def chunked(self, count: int) -> tuple[Tensor, ...]:
        """Record that the rows are divided, and return the parts."""
        self.usage_.linear[self.site_] += 1
        parts = self.value_.chunk(count)
        return tuple(WatchedWeight.of(value, self.site_, self.usage_, part) for part, value in enumerate(parts))

    def count(self, is_of_data: bool) -> None:
        """Record a use as the weight of a linear map."""
        if self.part_ is None:
            self.usage_.linear[self.site_] += 1
        else:
            self.usage_.parts[self.site_, self.part_] += 1
        if is_of_data and torch.is_grad_enabled():
            self.usage_.read_data.add(self.site_)


def leaves_of(output: Any) -> set[str]:
    """Return the sites whose watched weight is itself a leaf of the graph of an output, as no tensor type was asked."""
    waiting = [tensor.grad_fn for tensor in tensors_in(output) if tensor.grad_fn is not None]
    seen: set[Any] = set(waiting)
    found = set()
    while waiting:
        node = waiting.pop()
        weight = getattr(node, "variable", None)
        if isinstance(weight, WatchedWeight):
            found.add(weight.site_)
        new = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= new
        waiting += new
    return found


def _watched(tree: Any) -> list[WatchedWeight]:
    if isinstance(tree, WatchedWeight):
        return [tree]
    if isinstance(tree, dict):
        tree = tuple(tree.values())
    return [each for item in tree for each in _watched(item)] if isinstance(tree, tuple | list) else []


def _plain(tree: Any) -> Any:
    return replaced(tree, WatchedWeight, lambda weight: weight.value_)
