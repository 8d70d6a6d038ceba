"""A tensor type for a weight that is known by its distribution; a linear map with such a weight draws its output."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor

from pyro_vd._core.errors import UsedAgainError
from pyro_vd._core.generators import generator_state, set_generator_state
from pyro_vd.inference.attention import DECOMPOSED
from pyro_vd.inference.recomputation import cut_off, is_recomputing
from pyro_vd.inference.tensor_functions import (
    CHUNKS,
    DATA,
    NO_GRADIENT_OF_ITS_OWN,
    check_not_changed,
    is_question,
    replaced,
)
from pyro_vd.networks.layer_registry import linear_call
from pyro_vd.networks.linear_map import LinearMap


class LazyWeight(Tensor):
    """A weight known by its distribution, not by its value.

    A linear map of a registered kind of layer with it as its weight draws the output of the map. Any other operation draws the
    weight once and uses the drawn value. One LazyWeight allows one output, because two outputs drawn separately would not share
    one weight; the parts that :func:`torch.chunk` makes of its rows allow one output each. If activation checkpointing repeats
    an operation in the backward pass, the same output is drawn again.

    Raises:
        UsedAgainError: the weight is used a second time after an output was drawn (call :func:`draw_weight` before the first
            use).
        InputError: the weight is changed in place.
    """

    mean_: Tensor
    drawn_: Tensor | None
    noise_: Tensor | None
    """State of the random generator just before the output was drawn; None if none was drawn."""
    chunks_: tuple[LazyWeight, ...]
    """The parts that :func:`torch.chunk` has made of the rows."""

    @classmethod
    def _of_mean(cls, mean: Tensor) -> Self:
        weight = Tensor._make_subclass(cls, mean.detach())
        weight.mean_, weight.drawn_, weight.noise_, weight.chunks_ = mean, None, None, ()
        return weight

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"{type(self).__name__}(shape={tuple(self.mean_.shape)}, drawn={self.drawn_ is not None})"

    @abstractmethod
    def sample_weight(self) -> Tensor:
        """Draw the weight."""

    @abstractmethod
    def sample_output(self, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        """Draw the output of ``linear_map``, whose ``arguments`` are given by name, without the weight."""

    def draw_shared(self, examples: int) -> None:
        """Draw what the weight has in common with others in a pass over this number of examples."""

    def draws_output(self, linear_map: LinearMap) -> bool:
        """Whether the output of ``linear_map`` is drawn, and not the weight."""
        return True

    def chunks(self, count: int) -> tuple[LazyWeight, ...]:
        """Return unused parts of the weight with consecutive rows, as :func:`torch.chunk`; none if it must be drawn whole."""
        return ()

    @abstractmethod
    def over(self, parameters: Callable[[Tensor], Tensor]) -> LazyWeight:
        """Return an unused copy of the weight, with ``parameters`` applied to each tensor of its distribution."""

    @property
    def has_output_(self) -> bool:
        """Whether an output was drawn, or parts were given whose outputs can be."""
        return self.noise_ is not None or bool(self.chunks_)

    @property
    def is_used_(self) -> bool:
        """Whether an output or the weight itself was drawn."""
        return self.has_output_ or self.drawn_ is not None

    def draw(self) -> Tensor:
        """Return the weight as a plain tensor: drawn at the first call, the same tensor at each later call."""
        if self.has_output_:
            raise UsedAgainError(
                f"a weight of shape {tuple(self.mean_.shape)} is used more than once in one forward pass. Local "
                "reparameterization draws its output at each use, and the draws would not share one weight. Draw it before "
                "its first use: pyro_vd.inference.draw_weight(weight)",
                name="weight",
                value=tuple(self.mean_.shape),
            )
        if self.drawn_ is None:
            self.drawn_ = self.sample_weight()
        return self.drawn_

    def draw_output(self, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        """Draw the output of a linear map; if the weight itself was drawn before, compute the output with that value."""
        again = self.noise_ is not None and is_recomputing()
        if not again and (self.is_used_ or not self.draws_output(linear_map)):
            return linear_map.output(arguments, self.draw())
        arguments = {name: value for name, value in arguments.items() if name != linear_map.weight}
        if linear_map.bias is not None:
            bias = arguments.get(linear_map.bias)
            arguments[linear_map.bias] = draw_weight(bias) if isinstance(bias, Tensor) else bias
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

    def chunk(self, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
        """Return parts of the rows, each of which can be the weight of a linear map; parts of the drawn weight otherwise."""
        if self.chunks_ and is_recomputing():
            return self.chunks_
        if dim == 0 and not self.is_used_:
            with torch.enable_grad():  # activation checkpointing runs without gradients first, and uses the same parts again
                self.chunks_ = self.chunks(chunks)
        else:
            return self.draw().chunk(chunks, dim)
        return self.chunks_ or self.draw().chunk(chunks, dim)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if (call := linear_call(func, args, kwargs)) is not None:  # first, because it is the most frequent
            weight, _, inputs = call[0].roles(call[1])
            if isinstance(weight, LazyWeight) and not any(isinstance(each, LazyWeight) for each in inputs):
                return weight.draw_output(*call)
        if func in NO_GRADIENT_OF_ITS_OWN:
            return args[0] if func is Tensor.requires_grad_ else None
        if is_question(func, args, kwargs, LazyWeight):
            return func(*_means(args), **dict(zip(kwargs, _means(tuple(kwargs.values())), strict=True)))
        if func in DECOMPOSED:
            return DECOMPOSED[func](*args, **kwargs)
        if func in CHUNKS and isinstance(args[0], LazyWeight):
            return args[0].chunk(*args[1:], **kwargs)
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

    def sample_output(self, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        return linear_map.output(arguments, self.sample_weight())

    def over(self, parameters: Callable[[Tensor], Tensor]) -> LazyWeight:
        return self


def drawn(tree: Any) -> Any:
    """Return a ``tree`` of arguments in which each :class:`LazyWeight` is replaced by its drawn value."""
    return replaced(tree, LazyWeight, draw_weight)


def _means(tree: Any) -> Any:
    return replaced(tree, LazyWeight, lambda weight: weight.mean_)


def draw_weight(weight: Tensor) -> Tensor:
    """Return a weight as a plain tensor: the drawn value of a :class:`LazyWeight`, any other tensor unchanged."""
    return weight.draw() if isinstance(weight, LazyWeight) else weight
