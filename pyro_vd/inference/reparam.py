"""Local reparameterization: draw a layer's output instead of its weights (Kingma 2015, arXiv 1506.02557, section 2.1).

The output of a linear map whose weight has independent Gaussian entries is Gaussian, f(x; w) ~ N(f(x; θ), f(x²; σ²)). Drawing
this output independently for each row of the batch needs fewer random numbers and gives a gradient of far lower variance. The
effect handler :class:`LocalReparameterization` switches it on: the value of a weight site is then a
:class:`~.lazy_weight.LazyWeight`. Nothing global is patched, so plain tensors and other threads are not affected.
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
from pyro_vd.inference.lazy_weight import LazyWeight, drawn
from pyro_vd.inference.output_noise import OutputNoise, check_output_noise
from pyro_vd.inference.recomputation import cut_off, is_recomputing, over_tensors
from pyro_vd.networks.linear_map import LinearMap

TRAIN_THRESHOLD = "train_threshold"
"""Key of a site's ``infer``: the log α from which on means are zero in the forward pass; None zeroes no mean."""

_EPS = 1e-16  # in √(var + ε): the slope of √ is infinite at 0, and inputs of zeros give var = 0 exactly


class GaussianWeight(LazyWeight):
    """A weight with mean θ and variance σ² per entry, whose output f(x) is drawn from N(f(x; θ) + b, f(x²; σ²)).

    With ``output_noise`` "position", the output at each position of an example is drawn independently, as in the paper. With
    "example", all positions are drawn together, as with one weight per example: see
    :meth:`~pyro_vd.networks.LinearMap.example_noise`.
    """

    variance_: Tensor
    output_noise_: OutputNoise

    @staticmethod
    def __new__(cls, mean: Tensor, variance: Tensor, output_noise: OutputNoise = "position") -> GaussianWeight:
        weight = cls._of_mean(mean)
        weight.variance_, weight.output_noise_ = variance, output_noise
        return weight

    def sample_weight(self) -> Tensor:
        std = (self.variance_ + _EPS).sqrt() * (self.variance_ > 0)  # a removed weight is exactly 0
        return torch.addcmul(self.mean_, std, torch.randn_like(self.mean_))

    def draws_output(self, linear_map: LinearMap) -> bool:
        return self.output_noise_ == "position" or linear_map.tells_examples_apart

    def sample_output(self, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        mean = linear_map.output(arguments, self.mean_)
        deviation = self._deviation
        if self.output_noise_ == "example" and not linear_map.serves_one_position(mean):
            deviation = self._example_deviation
        device, dtype = self.mean_.device.type, self.variance_.dtype
        if torch.is_autocast_enabled(device):  # σ² and its square root underflow in half precision
            with torch.autocast(device, enabled=False):
                floats = {n: a.to(dtype) for n, a in arguments.items() if isinstance(a, Tensor) and a.is_floating_point()}
                return deviation(mean, linear_map, {**arguments, **floats})
        return deviation(mean, linear_map, arguments)

    def _deviation(self, mean: Tensor, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        std = (linear_map.variance(arguments, self.variance_) + _EPS).sqrt().to(mean.dtype)
        return torch.addcmul(mean, std, torch.randn_like(mean))

    def _example_deviation(self, mean: Tensor, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        return mean + linear_map.example_noise(arguments, (self.variance_ + _EPS).sqrt()).to(mean.dtype)

    def chunks(self, count: int) -> tuple[LazyWeight, ...]:
        parts = zip(self.mean_.chunk(count), self.variance_.chunk(count), strict=True)
        return tuple(GaussianWeight(mean, variance, self.output_noise_) for mean, variance in parts)

    def over(self, parameters: Callable[[Tensor], Tensor]) -> GaussianWeight:
        return GaussianWeight(parameters(self.mean_), parameters(self.variance_), self.output_noise_)


class UnitNoiseWeight(LazyWeight):
    """A weight w = v diag(z) with a :class:`~pyro_vd.distributions.unit_posterior.UnitPosterior`; inputs x become x∘z.

    z is drawn independently per example and, unless ``output_noise`` is "example", per position of a linear layer. The output
    is that of v for the inputs x∘z; if v has noise, it is drawn from N(f(x∘z; θ), f((x∘z)²; σ²)) (Louizos 2017, arXiv
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

    def sample_output(self, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        (name,), q = linear_map.inputs, self.posterior_
        x = arguments[name]
        places = x.shape[: x.ndim - len(q.unit_shape)]
        units = q.units(places if self.output_noise_ == "position" else (*places[:1], *(1 for _ in places[1:])))
        if self.kept_ is not None:
            units = units * self.kept_
        variance = q.weight_variance
        v = q.theta if variance is None else GaussianWeight(q.theta, variance, self.output_noise_)
        return linear_map.output({**arguments, name: x * units.to(x.dtype)}, v)

    def over(self, parameters: Callable[[Tensor], Tensor]) -> UnitNoiseWeight:
        weight = UnitNoiseWeight(over_tensors(self.posterior_, parameters), output_noise=self.output_noise_)
        weight.kept_ = self.kept_
        return weight


class KnownWeight(LazyWeight):
    """A weight with a known value, for a network whose backward pass runs parts of it again (activation checkpointing)."""

    @staticmethod
    def __new__(cls, value: Tensor) -> KnownWeight:
        return cls._of_mean(value)

    def sample_weight(self) -> Tensor:
        return self.mean_

    def draw(self) -> Tensor:
        return cut_off(self.mean_) if is_recomputing() else self.mean_

    def draw_output(self, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        return self.sample_output(linear_map, {name: value for name, value in arguments.items() if name != linear_map.weight})

    def sample_output(self, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        return linear_map.output({name: drawn(value) for name, value in arguments.items()}, self.draw())

    def over(self, parameters: Callable[[Tensor], Tensor]) -> KnownWeight:
        return KnownWeight(parameters(self.mean_))


class LocalReparameterization(Messenger):
    """Effect handler that gives each sample site with a posterior of this library a :class:`LazyWeight` as its value.

    If a site's ``infer`` has a :data:`TRAIN_THRESHOLD`, as with ``train_threshold`` of a guide, the means θ of weights with
    log α at or above it are zero in the forward pass, so that the network is trained as it will be pruned (as in the authors'
    published code, with 3.0). The KL still uses θ. A unit whose log α is at or above the threshold is zero, without noise.

    Args:
        noise: how noise is drawn if a layer applies its weight at several positions of an example, as a convolution does, or a
            linear layer with inputs ``(batch, …, features)``. "position" draws the output's noise independently per position,
            as in the paper; it averages out where positions are pooled. "example" draws it once per example (first dimension),
            which is exactly the noise of a drawn weight, but the gradient has a higher variance: see
            :meth:`~pyro_vd.networks.LinearMap.example_noise`. The same holds for noise on units. For layers with one position
            per example both are the same.

    Raises:
        InputError: ``noise`` is neither of these.
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
