"""A weight that is known by its distribution: a tensor type whose use in a linear map draws the output of that map."""

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

    Passed as the ``weight`` of a linear map, a convolution or a transposed convolution, it draws the output. Any other
    operation draws the weight, once, and goes on with that. One LazyWeight serves one use: outputs drawn twice would not
    share their weight. A use that is repeated in the backward pass, as activation checkpointing does, draws the same again.

    Raises:
        InputError: used a second time after an output was drawn (draw it first, with :func:`draw_weight`), or changed in place.
    """

    mean_: Tensor
    drawn_: Tensor | None
    noise_: Tensor | None
    """State of the random generator before an output was drawn; None before that."""

    @classmethod
    def _of_mean(cls, mean: Tensor) -> Self:
        weight = Tensor._make_subclass(cls, mean.detach())
        weight.mean_, weight.drawn_, weight.noise_ = mean, None, None
        return weight

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"{type(self).__name__}(shape={tuple(self.mean_.shape)}, drawn={self.drawn_ is not None})"

    @abstractmethod
    def sample_weight(self) -> Tensor:
        """A draw of the weight."""

    @abstractmethod
    def sample_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        """A draw of the output of ``linear_map`` with ``arguments`` by name."""

    @abstractmethod
    def over(self, parameters: Callable[[Tensor], Tensor]) -> LazyWeight:
        """The same weight, not yet used, over what ``parameters`` makes of each tensor of its distribution."""

    def draw(self) -> Tensor:
        """The weight itself: drawn at the first call, the same tensor ever after."""
        if self.noise_ is not None:
            raise InputError(
                f"a weight of shape {tuple(self.mean_.shape)} is used more than once in one forward pass. Local "
                "reparameterization draws its output at each use, and the draws would not share one weight. Name it in "
                "BayesianNetwork(..., shared=[...]), so that it is drawn once."
            )
        if self.drawn_ is None:
            self.drawn_ = self.sample_weight()
        return self.drawn_

    def draw_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        """One draw of the output, or the output of the weight if that was drawn before."""
        again = self.noise_ is not None and is_recomputing()
        if not again and (self.noise_ is not None or self.drawn_ is not None):
            return linear_map(**{**arguments, "weight": self.draw()})
        arguments = {**arguments, "bias": drawn(arguments.get("bias"))}
        device = self.mean_.device
        if self.noise_ is None or not again:
            self.noise_ = generator_state(device)
            return self.sample_output(linear_map, arguments)
        now = generator_state(device)
        repeats = now.numpy().tobytes() != self.noise_.numpy().tobytes()  # no operation that a checkpoint would count
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
    """``weight.data``: its draw without a gradient, which is not to be changed in place either."""

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
    """Whether a backward pass is under way in this thread: what runs forward now is run again by activation checkpointing."""
    return torch._C._current_graph_task_id() != -1


def cut_off(tensor: Tensor) -> Tensor:
    """The same numbers as the start of a graph of its own; a gradient that arrives there goes on to ``tensor`` at once.

    For a part of the network that is run again inside the backward pass with a backward pass of its own, as reentrant
    checkpointing does: that frees the graph behind it, which the KL, or another such part, still needs.
    """
    if tensor.is_leaf or not tensor.requires_grad:
        return tensor
    alias = tensor.detach().requires_grad_()

    def pass_on(leaf: Tensor) -> None:
        torch.autograd.backward(tensor, leaf.grad, retain_graph=True)

    alias.register_post_accumulate_grad_hook(pass_on)
    return alias


def over_tensors(distribution: Any, parameters: Callable[[Tensor], Tensor]) -> Any:
    """A copy of a distribution over what ``parameters`` makes of its floating-point tensors."""
    copied = copy.copy(distribution)
    for name, value in vars(copied).items():
        if isinstance(value, Tensor) and value.is_floating_point():
            vars(copied)[name] = parameters(value)
        elif isinstance(value, Distribution):
            vars(copied)[name] = over_tensors(value, parameters)
    return copied


def drawn(tree: Any) -> Any:
    """``tree`` of arguments with every undrawn weight replaced by its draw."""
    return replaced(tree, LazyWeight, draw_weight)


def _means(tree: Any) -> Any:
    return replaced(tree, LazyWeight, lambda weight: weight.mean_)


def draw_weight(weight: Tensor) -> Tensor:
    """The weight as a plain tensor: drawn if it is an :class:`LazyWeight`, itself otherwise."""
    return weight.draw() if isinstance(weight, LazyWeight) else weight
