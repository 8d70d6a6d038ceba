"""Weights with independent Gaussian entries, for which the output of a linear map is drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyro_vd.inference.lazy_weight import LazyWeight
from pyro_vd.inference.output_draw import EPS, drawn_output
from pyro_vd.inference.output_noise import OutputNoise
from pyro_vd.networks.linear_map import LinearMap


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
        std = (self.variance_ + EPS).sqrt() * (self.variance_ > 0)  # a removed weight is exactly 0
        return torch.addcmul(self.mean_, std, torch.randn_like(self.mean_))

    def draws_output(self, linear_map: LinearMap) -> bool:
        return self.output_noise_ == "position" or linear_map.tells_examples_apart

    def sample_output(self, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        device, dtype = self.mean_.device.type, self.variance_.dtype
        has_autocast = torch.is_autocast_enabled(device)
        if self.output_noise_ == "position" and not has_autocast:
            output = drawn_output(linear_map, arguments, self.mean_, self.variance_)
            if output is not None:
                return output
        mean = linear_map.output(arguments, self.mean_)
        deviation = self._deviation
        if self.output_noise_ == "example":
            if not linear_map.serves_one_position(mean):
                deviation = self._example_deviation
            elif not has_autocast:
                return GaussianWeight(self.mean_, self.variance_).sample_output(linear_map, arguments)
        if has_autocast and not self._is_lowered(device):
            with torch.autocast(device, enabled=False):
                floats = {n: a.to(dtype) for n, a in arguments.items() if isinstance(a, Tensor) and a.is_floating_point()}
                return deviation(mean, linear_map, {**arguments, **floats})
        return deviation(mean, linear_map, arguments)

    def _is_lowered(self, device: str) -> bool:
        """Whether the variance of the output may be computed under the autocast that is on.

        Numbers of bfloat16 have the exponents of float32, so that σ² does not underflow as in half precision. The rounding of
        x², of σ² and of their product changes the standard deviation by less than 2⁻⁸. Square root and noise stay float32.
        """
        return self.output_noise_ == "position" and torch.get_autocast_dtype(device) == torch.bfloat16

    def _deviation(self, mean: Tensor, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        std = (linear_map.variance(arguments, self.variance_).to(self.variance_.dtype) + EPS).sqrt()
        return torch.addcmul(mean.to(std.dtype), std, torch.randn_like(std)).to(mean.dtype)

    def _example_deviation(self, mean: Tensor, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        return mean + linear_map.example_noise(arguments, (self.variance_ + EPS).sqrt()).to(mean.dtype)

    def chunks(self, count: int) -> tuple[LazyWeight, ...]:
        parts = zip(self.mean_.chunk(count), self.variance_.chunk(count), strict=True)
        return tuple(GaussianWeight(mean, variance, self.output_noise_) for mean, variance in parts)

    def over(self, parameters: Callable[[Tensor], Tensor]) -> GaussianWeight:
        return GaussianWeight(parameters(self.mean_), parameters(self.variance_), self.output_noise_)
