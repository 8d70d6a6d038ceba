"""A tensor type for a weight that is known by its distribution; a linear map with such a weight draws its output."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generator_state, set_generator_state
from pyro_vd.inference.tensor_functions import (
    DATA,
    NO_GRADIENT_OF_ITS_OWN,
    check_not_changed,
    is_question,
    replaced,
)
from pyro_vd.networks.layer_registry import LINEAR_MAPS


class LazyWeight(Tensor):
    """A weight known by its distribution, not by its value.

    A linear map, convolution or transposed convolution with it as its ``weight`` draws the output of the map. Any other
    operation draws the weight once and uses the drawn value. One LazyWeight allows one output, because two outputs drawn
    separately would not share one weight. If activation checkpointing repeats an operation in the backward pass, the same
    output is drawn again.

    Raises:
        InputError: the weight is used a second time after an output was drawn (call :func:`draw_weight` before the first use),
            or is changed in place.
    """

    mean_: Tensor
    drawn_: Tensor | None
    noise_: Tensor | None
    """State of the random generator just before the output was drawn; None if none was drawn."""

    @classmethod
    def _of_mean(cls, mean: Tensor) -> Self:
        weight = Tensor._make_subclass(cls, mean.detach())
        weight.mean_, weight.drawn_, weight.noise_ = mean, None, None
        return weight

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"{type(self).__name__}(shape={tuple(self.mean_.shape)}, drawn={self.drawn_ is not None})"

    @abstractmethod
    def sample_weight(self) -> Tensor:
        """Draw the weight."""

    @abstractmethod
    def sample_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        """Draw the output of ``linear_map``, whose ``arguments`` are given by name."""

    @abstractmethod
    def over(self, parameters: Callable[[Tensor], Tensor]) -> LazyWeight:
        """Return an unused copy of the weight, with ``parameters`` applied to each tensor of its distribution."""

    def draw(self) -> Tensor:
        """Return the weight as a plain tensor: drawn at the first call, the same tensor at each later call."""
        if self.noise_ is not None:
            raise InputError(
                f"a weight of shape {tuple(self.mean_.shape)} is used more than once in one forward pass. Local "
                "reparameterization draws its output at each use, and the draws would not share one weight. Name it in "
                "BayesianNetwork(..., shared=[...]), so that it is drawn once.",
                name="weight",
                value=tuple(self.mean_.shape),
            )
        if self.drawn_ is None:
            self.drawn_ = self.sample_weight()
        return self.drawn_

    def draw_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        """Draw the output of a linear map; if the weight itself was drawn before, compute the output with that value."""
        again = self.noise_ is not None and is_recomputing()
        if not again and (self.noise_ is not None or self.drawn_ is not None):
            return linear_map(**{**arguments, "weight": self.draw()})
        arguments = {**arguments, "bias": drawn(arguments.get("bias"))}
        device = self.mean_.device
        if self.noise_ is None or not again:
            self.noise_ = generator_state(device)
            return self.sample_output(linear_map, arguments)
        now = generator_state(device)
        # Bytes are compared, because activation checkpointing would count an operation on tensors.
        repeats = now.numpy().tobytes() != self.noise_.numpy().tobytes()
        if repeats:
            set_generator_state(device, self.noise_)
        try:
            return self.over(cut_off).sample_output(linear_map, arguments)
        finally:
            if repeats:
                set_generator_state(device, now)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in NO_GRADIENT_OF_ITS_OWN:
            return args[0] if func is Tensor.requires_grad_ else None
        if is_question(func, args, kwargs, LazyWeight):
            return func(*_means(args), **dict(zip(kwargs, _means(tuple(kwargs.values())), strict=True)))
        if func in LINEAR_MAPS:
            arguments = LINEAR_MAPS[func].by_name(args, kwargs)
            weight = arguments["weight"]
            if isinstance(weight, LazyWeight) and not isinstance(arguments["input"], LazyWeight):
                return weight.draw_output(func, arguments)
        if func in DATA:
            return _Detached.of(args[0])
        check_not_changed(func, args, kwargs, LazyWeight, "a weight with a prior")
        return func(*drawn(args), **drawn(kwargs))


class _Detached(LazyWeight):
    """``weight.data``: the drawn weight without a gradient; in-place changes of it are refused too."""

    weight_: LazyWeight

    @classmethod
    def of(cls, weight: LazyWeight) -> Self:
        detached = cls._of_mean(weight.mean_.detach())
        detached.weight_ = weight
        return detached

    def sample_weight(self) -> Tensor:
        return self.weight_.draw().detach()

    def sample_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        return linear_map(**{**arguments, "weight": self.sample_weight()})

    def over(self, parameters: Callable[[Tensor], Tensor]) -> LazyWeight:
        return self


def is_recomputing() -> bool:
    """Whether this thread runs a backward pass, so that a forward computation is one that activation checkpointing repeats."""
    return torch._C._current_graph_task_id() != -1


def cut_off(tensor: Tensor) -> Tensor:
    """Return a leaf with the values of ``tensor``; a gradient that reaches the leaf is passed on to ``tensor`` immediately.

    Reentrant checkpointing runs a part of the network again inside the backward pass, with a nested backward pass. That pass
    would free the graph of ``tensor``, which the KL and other such parts still need.
    """
    if tensor.is_leaf or not tensor.requires_grad:
        return tensor
    alias = tensor.detach().requires_grad_()

    def pass_on(leaf: Tensor) -> None:
        torch.autograd.backward(tensor, leaf.grad, retain_graph=True)

    alias.register_post_accumulate_grad_hook(pass_on)
    return alias


def over_tensors(distribution: Any, parameters: Callable[[Tensor], Tensor]) -> Any:
    """Return a copy of a distribution, with ``parameters`` applied to its floating-point tensors."""
    copied = copy.copy(distribution)
    for name, value in vars(copied).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            vars(copied)[name] = parameters(value)
        elif isinstance(value, Distribution):
            vars(copied)[name] = over_tensors(value, parameters)
    return copied


def drawn(tree: Any) -> Any:
    """Return a ``tree`` of arguments in which each :class:`LazyWeight` is replaced by its drawn value."""
    return replaced(tree, LazyWeight, draw_weight)


def _means(tree: Any) -> Any:
    return replaced(tree, LazyWeight, lambda weight: weight.mean_)


def draw_weight(weight: Tensor) -> Tensor:
    """Return a weight as a plain tensor: the drawn value of a :class:`LazyWeight`, any other tensor unchanged."""
    return weight.draw() if isinstance(weight, LazyWeight) else weight
