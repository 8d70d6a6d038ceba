"""Local reparameterization: draw a layer's output instead of its weights (Kingma 2015, arXiv 1506.02557, section 2.1).

A weight with independent Gaussian entries gives a linear map a Gaussian output, f(x; w) ~ N(f(x; θ), f(x²; σ²)). Drawing
that output, anew for every row of the batch, needs less noise and gives a gradient of far lower variance.
:class:`LocalReparameterization` is the effect handler that switches it on; :class:`UndrawnWeight` is what a weight site then
holds. Nothing global is patched: a plain tensor in the same process, or another thread, is untouched.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import torch
import torch.nn.functional as F
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vd.distributions import WeightPosterior
from pyro_vd.errors import InputError
from pyro_vd.observations import base_distribution
from pyro_vd.unit_posterior import UnitPosterior

_EPS = 1e-16  # √(var + ε): √ has an infinite slope at 0, and an input of zeros gives var = 0 exactly

_LINEAR_MAPS: frozenset[Callable[..., Tensor]] = frozenset(
    {F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}
)
_METADATA: frozenset[Any] = frozenset(
    {getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "layout", "ndim", "requires_grad", "is_cuda")}
    | {Tensor.size, Tensor.dim, Tensor.numel, Tensor.__len__, Tensor.is_floating_point, Tensor.__repr__}
)


class UndrawnWeight(Tensor):
    """A weight known by its distribution, not by its value.

    Passed as the ``weight`` of a linear map, a convolution or a transposed convolution, it draws the output. Any other
    operation draws the weight, once, and goes on with that. One UndrawnWeight serves one use: outputs drawn twice would not
    share their weight.

    Raises:
        InputError: used a second time after an output was drawn. Draw it first, with :func:`draw_weight`.
    """

    mean_: Tensor
    drawn_: Tensor | None
    used_: bool

    @classmethod
    def _of_mean(cls, mean: Tensor) -> Self:
        weight = Tensor._make_subclass(cls, mean.detach())
        weight.mean_, weight.drawn_, weight.used_ = mean, None, False
        return weight

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"{type(self).__name__}(shape={tuple(self.mean_.shape)}, drawn={self.drawn_ is not None})"

    @abstractmethod
    def sample_weight(self) -> Tensor:
        """A draw of the weight."""

    @abstractmethod
    def sample_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        """A draw of the output of ``linear_map`` with ``arguments`` by name."""

    def draw(self) -> Tensor:
        """The weight itself: drawn at the first call, the same tensor ever after."""
        if self.used_:
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
        if self.used_ or self.drawn_ is not None:
            return linear_map(**{**arguments, "weight": self.draw()})
        self.used_ = True
        return self.sample_output(linear_map, {**arguments, "bias": _drawn(arguments.get("bias"))})

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in _METADATA:
            return func(args[0].mean_, *args[1:], **kwargs)
        if func in _LINEAR_MAPS:
            names = ("input", "weight", "bias", *_REST.get(func, _CONVOLUTION))
            arguments = {**dict(zip(names, args, strict=False)), **kwargs}
            weight = arguments["weight"]
            if isinstance(weight, UndrawnWeight) and not isinstance(arguments["input"], UndrawnWeight):
                return weight.draw_output(func, arguments)
        return func(*_drawn(args), **_drawn(kwargs))


class GaussianWeight(UndrawnWeight):
    """A weight known only as mean θ and variance σ², entry by entry; the output f(x) is drawn from N(f(x; θ) + b, f(x²; σ²)).

    The spatial positions of a convolution are then independent, as in the paper.
    """

    variance_: Tensor

    @staticmethod
    def __new__(cls, mean: Tensor, variance: Tensor) -> GaussianWeight:
        weight = cls._of_mean(mean)
        weight.variance_ = variance
        return weight

    def sample_weight(self) -> Tensor:
        return torch.addcmul(self.mean_, (self.variance_ + _EPS).sqrt(), torch.randn_like(self.mean_))

    def sample_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        x = arguments["input"]
        mean = linear_map(**{**arguments, "weight": self.mean_})
        squares = {**arguments, "input": x.square(), "weight": self.variance_, "bias": None}
        if torch.is_autocast_enabled(x.device.type):  # σ² and its square root underflow in half precision
            with torch.autocast(x.device.type, enabled=False):
                squares["input"] = x.to(self.variance_.dtype).square()
                variance = linear_map(**squares)
        else:
            variance = linear_map(**squares)
        std = (variance + _EPS).sqrt().to(mean.dtype)
        return torch.addcmul(mean, std, torch.randn_like(mean))


class UnitNoiseWeight(UndrawnWeight):
    """A weight w = v diag(z) under a :class:`~pyro_vd.unit_posterior.UnitPosterior`: z is drawn on the inputs.

    It is drawn anew for every example. The output is that of v for the inputs x∘z, so from N(f(x∘z; θ), f((x∘z)²; σ²)) where
    v has noise (Louizos 2017, arXiv 1705.08665, section 4.1).
    """

    posterior_: UnitPosterior
    kept_: Tensor | None

    @staticmethod
    def __new__(cls, posterior: UnitPosterior, hold: float | None = None) -> UnitNoiseWeight:
        weight = cls._of_mean(posterior.theta)
        units = None if hold is None else posterior.unit_log_alpha
        weight.posterior_, weight.kept_ = posterior, None if hold is None or units is None else units < hold
        return weight

    def sample_weight(self) -> Tensor:
        weight = self.posterior_.rsample()
        return weight if self.kept_ is None else weight * self.kept_

    def sample_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        x, q = arguments["input"], self.posterior_
        units = q.units(x.shape[: x.ndim - len(q.unit_shape)])
        if self.kept_ is not None:
            units = units * self.kept_
        variance = q.weight_variance
        v = q.theta if variance is None else GaussianWeight(q.theta, variance)
        return linear_map(**{**arguments, "input": x * units.to(x.dtype), "weight": v})


_CONVOLUTION = ("stride", "padding", "dilation", "groups")
_TRANSPOSED = ("stride", "padding", "output_padding", "groups", "dilation")
_REST: dict[Any, tuple[str, ...]] = {
    F.linear: (),
    F.conv_transpose1d: _TRANSPOSED,
    F.conv_transpose2d: _TRANSPOSED,
    F.conv_transpose3d: _TRANSPOSED,
}


def _drawn(tree: Any) -> Any:
    """``tree`` of arguments with every undrawn weight replaced by its draw."""
    if isinstance(tree, UndrawnWeight):
        return tree.draw()
    if isinstance(tree, tuple | list):
        return type(tree)(_drawn(item) for item in tree)
    if isinstance(tree, dict):
        return {key: _drawn(item) for key, item in tree.items()}
    return tree


def draw_weight(weight: Tensor) -> Tensor:
    """The weight as a plain tensor: drawn if it is an :class:`UndrawnWeight`, itself otherwise."""
    return weight.draw() if isinstance(weight, UndrawnWeight) else weight


class LocalReparameterization(Messenger):
    """Effect handler: a sample site with a posterior of this library holds an :class:`UndrawnWeight`.

    Args:
        hold: where log α reaches this, the mean is held at zero in the forward pass, so that the network trains as it
            will be pruned (the authors' published code, with 3.0); the KL still sees θ. None holds nothing. Where the noise
            is on units, the unit is held at zero, without noise.

    Raises:
        InputError: ``hold`` is NaN.
    """

    def __init__(self, hold: float | None = None) -> None:
        super().__init__()
        if hold is not None and math.isnan(hold):
            raise InputError("hold (=nan) must be a number or None; means with log α at or above it are held at zero")
        self.hold = hold

    def _pyro_sample(self, msg: Any) -> None:
        base = base_distribution(msg["fn"])
        if msg["done"] or msg["is_observed"] or not isinstance(base, WeightPosterior | UnitPosterior):
            return
        if isinstance(base, UnitPosterior):
            weight: UndrawnWeight = UnitNoiseWeight(base, self.hold)
        else:
            mean, variance = base.theta, base.variance
            if self.hold is not None:
                kept = mean.detach().square() > variance.detach() * math.exp(-self.hold)
                mean = mean * kept
            weight = GaussianWeight(mean, variance)
        msg["value"], msg["done"] = weight, True
