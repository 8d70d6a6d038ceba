"""Local reparameterization: draw a layer's output instead of its weights (Kingma 2015, arXiv 1506.02557, section 2.1).

A weight with independent Gaussian entries gives a linear map a Gaussian output, f(x; w) ~ N(f(x; θ), f(x²; σ²)). Drawing
that output, anew for every row of the batch, needs less noise and gives a gradient of far lower variance.
:class:`LocalReparameterization` is the effect handler that switches it on; :class:`GaussianWeight` is what a weight site then
holds. Nothing global is patched: a plain tensor in the same process, or another thread, is untouched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vd.distributions import MultiplicativeNormal, base_distribution
from pyro_vd.errors import InputError

_EPS = 1e-16  # √(var + ε): √ has an infinite slope at 0, and an input of zeros gives var = 0 exactly

_LINEAR_MAPS: frozenset[Callable[..., Tensor]] = frozenset(
    {F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}
)
_METADATA: frozenset[Any] = frozenset(
    {getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "layout", "ndim", "requires_grad", "is_cuda")}
    | {Tensor.size, Tensor.dim, Tensor.numel, Tensor.__len__, Tensor.is_floating_point, Tensor.__repr__}
)


class GaussianWeight(Tensor):
    """A weight known only as mean θ and variance σ², entry by entry.

    Passed as the ``weight`` of a linear map, a convolution or a transposed convolution, it draws the output; the spatial
    positions of a convolution are then independent, as in the paper. Any other operation draws the weight, once, and goes
    on with that. One GaussianWeight serves one use: outputs drawn twice would not share their weight.

    Raises:
        InputError: used a second time after an output was drawn. Draw it first, with :func:`draw_weight`.
    """

    mean_: Tensor
    variance_: Tensor
    drawn_: Tensor | None
    used_: bool

    @staticmethod
    def __new__(cls, mean: Tensor, variance: Tensor) -> GaussianWeight:
        weight: GaussianWeight = Tensor._make_subclass(cls, mean.detach())
        weight.mean_, weight.variance_, weight.drawn_, weight.used_ = mean, variance, None, False
        return weight

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"GaussianWeight(shape={tuple(self.mean_.shape)}, drawn={self.drawn_ is not None})"

    def draw(self) -> Tensor:
        """The weight itself, w = θ + σε: drawn at the first call, the same tensor ever after."""
        if self.used_:
            raise InputError(
                f"a weight of shape {tuple(self.mean_.shape)} is used more than once in one forward pass. Local "
                "reparameterization draws its output at each use, and the draws would not share one weight. Name it in "
                "BayesianNetwork(..., shared=[...]), so that it is drawn once."
            )
        if self.drawn_ is None:
            noise = torch.randn_like(self.mean_)
            self.drawn_ = torch.addcmul(self.mean_, (self.variance_ + _EPS).sqrt(), noise)
        return self.drawn_

    def draw_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        """One draw from N(f(x; θ) + b, f(x²; σ²)): ``linear_map`` f, with ``arguments`` by name."""
        if self.used_ or self.drawn_ is not None:
            return linear_map(**{**arguments, "weight": self.draw()})
        self.used_ = True
        x = arguments["input"]
        if isinstance(arguments.get("bias"), GaussianWeight):
            arguments["bias"] = arguments["bias"].draw()
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

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in _METADATA:
            return func(args[0].mean_, *args[1:], **kwargs)
        if func in _LINEAR_MAPS:
            names = ("input", "weight", "bias", *_REST.get(func, _CONVOLUTION))
            arguments = {**dict(zip(names, args, strict=False)), **kwargs}
            weight = arguments["weight"]
            if isinstance(weight, GaussianWeight) and not isinstance(arguments["input"], GaussianWeight):
                return weight.draw_output(func, arguments)
        return func(*_drawn(args), **_drawn(kwargs))


_CONVOLUTION = ("stride", "padding", "dilation", "groups")
_TRANSPOSED = ("stride", "padding", "output_padding", "groups", "dilation")
_REST: dict[Any, tuple[str, ...]] = {
    F.linear: (),
    F.conv_transpose1d: _TRANSPOSED,
    F.conv_transpose2d: _TRANSPOSED,
    F.conv_transpose3d: _TRANSPOSED,
}


def _drawn(tree: Any) -> Any:
    """``tree`` of arguments with every GaussianWeight replaced by its draw."""
    if isinstance(tree, GaussianWeight):
        return tree.draw()
    if isinstance(tree, tuple | list):
        return type(tree)(_drawn(item) for item in tree)
    if isinstance(tree, dict):
        return {key: _drawn(item) for key, item in tree.items()}
    return tree


def draw_weight(weight: Tensor) -> Tensor:
    """The weight as a plain tensor: drawn if it is a :class:`GaussianWeight`, itself otherwise."""
    return weight.draw() if isinstance(weight, GaussianWeight) else weight


class LocalReparameterization(Messenger):
    """Effect handler: a sample site with a :class:`MultiplicativeNormal` holds a :class:`GaussianWeight`, undrawn.

    Args:
        hold: where log α reaches this, the mean is held at zero in the forward pass, so that the network trains as it
            will be pruned (the authors' published code, with 3.0); the KL still sees θ. None holds nothing.

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
        if msg["done"] or msg["is_observed"] or not isinstance(base, MultiplicativeNormal):
            return
        mean, variance = base.theta, base.variance
        if self.hold is not None:
            kept = mean.detach().square() > variance.detach() * math.exp(-self.hold)
            mean = mean * kept
        msg["value"] = cast(Tensor, GaussianWeight(mean, variance))
        msg["done"] = True
