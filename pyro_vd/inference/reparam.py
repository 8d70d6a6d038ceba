"""Local reparameterization: draw a layer's output instead of its weights (Kingma 2015, arXiv 1506.02557, section 2.1).

A weight with independent Gaussian entries gives a linear map a Gaussian output, f(x; w) ~ N(f(x; θ), f(x²; σ²)). Drawing
that output, anew for every row of the batch, needs less noise and gives a gradient of far lower variance.
:class:`LocalReparameterization` is the effect handler that switches it on; :class:`~.lazy_weight.LazyWeight` is what a
weight site then holds. Nothing global is patched: a plain tensor in the same process, or another thread, is untouched.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vd.distributions.unit_posterior import UnitPosterior
from pyro_vd.distributions.weight_posterior import WeightPosterior
from pyro_vd.evaluation.observations import base_distribution
from pyro_vd.inference.lazy_weight import LazyWeight, cut_off, drawn, is_recomputing, over_tensors
from pyro_vd.inference.output_noise import OutputNoise, check_output_noise, example_noise, serves_one_position

TRAIN_THRESHOLD = "train_threshold"
"""In a site's ``infer``: log α at or above which means are zero in the forward pass; None for nowhere."""

_EPS = 1e-16  # √(var + ε): √ has an infinite slope at 0, and an input of zeros gives var = 0 exactly


class GaussianWeight(LazyWeight):
    """A weight known only as mean θ and variance σ², entry by entry; the output f(x) is drawn from N(f(x; θ) + b, f(x²; σ²)).

    Each position of an example, as of a convolution, is then drawn independently, as in the paper; or, with ``output_noise``
    "example", all positions together, as if by one weight: see :func:`~.output_noise.example_noise`.
    """

    variance_: Tensor
    output_noise_: OutputNoise

    @staticmethod
    def __new__(cls, mean: Tensor, variance: Tensor, output_noise: OutputNoise = "position") -> GaussianWeight:
        weight = cls._of_mean(mean)
        weight.variance_, weight.output_noise_ = variance, output_noise
        return weight

    def sample_weight(self) -> Tensor:
        std = (self.variance_ + _EPS).sqrt() * (self.variance_ > 0)  # a removed weight is 0 exactly
        return torch.addcmul(self.mean_, std, torch.randn_like(self.mean_))

    def sample_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        x = arguments["input"]
        mean = linear_map(**{**arguments, "weight": self.mean_})
        deviation = self._deviation
        if self.output_noise_ == "example" and not serves_one_position(linear_map, mean):
            deviation = self._example_deviation
        if torch.is_autocast_enabled(x.device.type):  # σ² and its square root underflow in half precision
            with torch.autocast(x.device.type, enabled=False):
                x = x.to(self.variance_.dtype)
                return deviation(mean, linear_map, {**arguments, "input": x, "bias": None})
        return deviation(mean, linear_map, {**arguments, "bias": None})

    def _deviation(self, mean: Tensor, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        variance = linear_map(**{**arguments, "input": arguments["input"].square(), "weight": self.variance_})
        std = (variance + _EPS).sqrt().to(mean.dtype)
        return torch.addcmul(mean, std, torch.randn_like(mean))

    def _example_deviation(self, mean: Tensor, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        return mean + example_noise(linear_map, arguments, (self.variance_ + _EPS).sqrt()).to(mean.dtype)

    def over(self, parameters: Callable[[Tensor], Tensor]) -> GaussianWeight:
        return GaussianWeight(parameters(self.mean_), parameters(self.variance_), self.output_noise_)


class UnitNoiseWeight(LazyWeight):
    """A weight w = v diag(z) under a :class:`~pyro_vd.distributions.unit_posterior.UnitPosterior`: z is drawn on the inputs.

    It is drawn anew for every example and, unless ``output_noise`` is "example", for every position of a linear layer. The
    output is that of v for the inputs x∘z, so from N(f(x∘z; θ), f((x∘z)²; σ²)) where v has noise (Louizos 2017, arXiv
    1705.08665, section 4.1).
    """

    posterior_: UnitPosterior
    kept_: Tensor | None
    output_noise_: OutputNoise

    @staticmethod
    def __new__(
        cls, posterior: UnitPosterior, threshold: float | None = None, output_noise: OutputNoise = "position"
    ) -> UnitNoiseWeight:
        weight = cls._of_mean(posterior.theta)
        weight.output_noise_ = output_noise
        units = None if threshold is None else posterior.unit_log_alpha
        weight.posterior_, weight.kept_ = posterior, None if threshold is None or units is None else units < threshold
        return weight

    def sample_weight(self) -> Tensor:
        weight = self.posterior_.rsample()
        return weight if self.kept_ is None else weight * self.kept_

    def sample_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        x, q = arguments["input"], self.posterior_
        places = x.shape[: x.ndim - len(q.unit_shape)]
        units = q.units(places if self.output_noise_ == "position" else (*places[:1], *(1 for _ in places[1:])))
        if self.kept_ is not None:
            units = units * self.kept_
        variance = q.weight_variance
        v = q.theta if variance is None else GaussianWeight(q.theta, variance, self.output_noise_)
        return linear_map(**{**arguments, "input": x * units.to(x.dtype), "weight": v})

    def over(self, parameters: Callable[[Tensor], Tensor]) -> UnitNoiseWeight:
        weight = UnitNoiseWeight(over_tensors(self.posterior_, parameters), output_noise=self.output_noise_)
        weight.kept_ = self.kept_
        return weight


class KnownWeight(LazyWeight):
    """A weight that has its value, in a network that runs parts of itself again with a backward pass of their own."""

    @staticmethod
    def __new__(cls, value: Tensor) -> KnownWeight:
        return cls._of_mean(value)

    def sample_weight(self) -> Tensor:
        return self.mean_

    def draw(self) -> Tensor:
        return cut_off(self.mean_) if is_recomputing() else self.mean_

    def draw_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        return self.sample_output(linear_map, arguments)

    def sample_output(self, linear_map: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
        return linear_map(**{name: drawn(value) for name, value in arguments.items()})

    def over(self, parameters: Callable[[Tensor], Tensor]) -> KnownWeight:
        return KnownWeight(parameters(self.mean_))


class LocalReparameterization(Messenger):
    """Effect handler: a sample site with a posterior of this library holds an :class:`LazyWeight`.

    Where a site's ``infer`` has a :data:`TRAIN_THRESHOLD`, as that of a guide with ``train_threshold``, means of log α at or
    above it are zero in the forward pass, so that the network trains as it will be pruned (the authors' published code, with
    3.0); the KL still sees θ. Where the noise is on units, the unit is zero, without noise.

    Args:
        noise: where a weight serves several positions of an example, as in a convolution or a linear layer for ``(batch, …,
            features)``, its output's noise is drawn at each "position" independently, as in the paper, which averages away
            where positions are pooled; or once for each "example" (the first dimension), which is exactly the noise of a
            drawn weight, but its gradient varies more: see :func:`~.output_noise.example_noise`. Noise on units is
            drawn likewise. A layer that serves one position is not concerned.

    Raises:
        InputError: another ``noise``.
    """

    def __init__(self, noise: OutputNoise = "position") -> None:
        super().__init__()
        check_output_noise("noise", noise)
        self.noise = noise

    def _pyro_sample(self, msg: Any) -> None:
        base = base_distribution(msg["fn"])
        if msg["done"] or msg["is_observed"] or not isinstance(base, WeightPosterior | UnitPosterior):
            return
        threshold: float | None = msg["infer"].get(TRAIN_THRESHOLD)
        if isinstance(base, UnitPosterior):
            weight: LazyWeight = UnitNoiseWeight(base, threshold, self.noise)
        else:
            mean, variance = base.theta, base.variance
            if threshold is not None:
                kept = mean.detach().square() > variance.detach() * math.exp(-threshold)
                mean = mean * kept
            weight = GaussianWeight(mean, variance, self.noise)
        msg["value"], msg["done"] = weight, True
