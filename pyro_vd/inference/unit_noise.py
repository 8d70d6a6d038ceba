"""Weights with a random factor per input unit, which multiplies the inputs where these can be told apart by example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_vd.distributions.unit_draws import UnitDraws
from pyro_vd.distributions.unit_posterior import UnitPosterior
from pyro_vd.inference.gaussian_weight import GaussianWeight
from pyro_vd.inference.lazy_weight import LazyWeight
from pyro_vd.inference.output_noise import OutputNoise
from pyro_vd.inference.recomputation import over_tensors
from pyro_vd.networks.embedding_maps import ids_by_example
from pyro_vd.networks.linear_map import LinearMap


@dataclass(frozen=True)
class _OwnFactors:
    """Factors that no other weight has: see :class:`~pyro_vd.networks.linear_map.UnitFactors`."""

    posterior: UnitPosterior
    kept: Tensor | None
    output_noise: OutputNoise

    def at_places(self, places: torch.Size) -> Tensor:
        shape = places if self.output_noise == "position" else (*places[:1], *(1 for _ in places[1:]))
        z = self.posterior.units(shape)
        return self.posterior.layout.over_inputs(z if self.kept is None else z * self.kept)

    def of_inputs(self, numbers: Tensor) -> Tensor:
        if self.output_noise == "example":
            pairs, place = ids_by_example(numbers, self.posterior.layout.inputs)
            return self._of(pairs % self.posterior.layout.inputs)[place]
        return self._of(numbers)

    def _of(self, numbers: Tensor) -> Tensor:
        of_input = self.posterior.layout.of_input
        units = numbers if of_input is None else of_input[numbers]
        z = self.posterior.units((), units)
        return z if self.kept is None else z * self.kept[units]


@dataclass(frozen=True)
class _GivenFactors:
    """Factors that were drawn for all weights that share them, ``(examples, inputs)``, or ``(1, inputs)``."""

    z: Tensor

    def at_places(self, places: torch.Size) -> Tensor:
        return self.z.reshape(len(self.z), *(1 for _ in places[1:]), -1) if places else self.z[0]

    def of_inputs(self, numbers: Tensor) -> Tensor:
        examples = torch.arange(len(numbers), device=numbers.device).reshape(-1, *(1 for _ in numbers.shape[1:]))
        return self.z.expand(len(numbers), -1)[examples, numbers]


class UnitNoiseWeight(LazyWeight):
    """A weight w = v diag(z) with a :class:`~pyro_vd.distributions.unit_posterior.UnitPosterior`; inputs x become x∘z.

    z is drawn independently per example and, unless ``output_noise`` is "example", per position of a linear layer, and per
    token that is looked up. The output is that of v for the inputs x∘z; if v has noise, it is drawn from
    N(f(x∘z; θ), f((x∘z)²; σ²)) (Louizos 2017, arXiv 1705.08665, section 4.1). Where the examples of the inputs cannot be told
    apart, as in bags of embeddings, z is drawn once and multiplies the weight. A z that several weights share is drawn once per
    example, or once per pass where one of them needs that.
    """

    posterior_: UnitPosterior
    kept_: Tensor | None
    output_noise_: OutputNoise
    shared_: Tensor | None
    """The z that are shared, as they are for the output that is drawn, ``(examples, units)``; None before."""

    @staticmethod
    def __new__(
        cls, posterior: UnitPosterior, threshold: float | None = None, output_noise: OutputNoise = "position"
    ) -> UnitNoiseWeight:
        weight = cls._of_mean(posterior.theta)
        weight.output_noise_, weight.shared_ = output_noise, None
        units = None if threshold is None else posterior.unit_log_alpha
        weight.posterior_, weight.kept_ = posterior, None if threshold is None or units is None else units < threshold
        return weight

    def sample_weight(self) -> Tensor:
        weight = self.posterior_.rsample()
        return weight if self.kept_ is None else weight * self.posterior_.over_weight(self.kept_)

    def draw_shared(self, examples: int) -> None:
        if self._draws is not None:
            self._draws.of_examples(examples)

    def draw_output(self, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        if self._draws is not None and not self.is_used_:
            x = arguments[linear_map.inputs[0]]
            has_examples = x.ndim > 1 + (linear_map.spatial or 0) or not x.is_floating_point()
            if has_examples and linear_map.tells_examples_apart and linear_map.input_axis == self.posterior_.layout.axis:
                self.shared_ = self._draws.of_examples(len(x))
            else:
                self.shared_ = self._draws.of_pass()[None]
        return super().draw_output(linear_map, arguments)

    def sample_output(self, linear_map: LinearMap, arguments: dict[str, Any]) -> Tensor:
        q = self.posterior_
        by_example = self.shared_ is not None or self.output_noise_ == "position" or linear_map.tells_examples_apart
        if linear_map.input_axis != q.layout.axis or not by_example:
            return linear_map.output(arguments, self._given_units())
        variance = q.weight_variance
        v = q.theta if variance is None else GaussianWeight(q.theta, variance, self.output_noise_)
        if self.shared_ is None:
            return linear_map.unit_output(arguments, v, _OwnFactors(q, self.kept_, self.output_noise_))
        z = self.shared_ if self.kept_ is None else self.shared_ * self.kept_
        return linear_map.unit_output(arguments, v, _GivenFactors(q.layout.over_inputs(z)))

    @property
    def _draws(self) -> UnitDraws | None:
        shared = self.posterior_.shared
        return None if shared is None else shared.draws

    def _given_units(self) -> Tensor:
        """Return the weight for one draw of z, with the noise of v."""
        q = self.posterior_
        own = q.units(()) if self._draws is None else self._draws.of_pass()
        z = own if self.shared_ is None else self.shared_[0]
        z = q.over_weight(z if self.kept_ is None else z * self.kept_)
        variance = q.weight_variance
        return q.theta * z if variance is None else GaussianWeight(q.theta * z, variance * z.square(), self.output_noise_)

    def chunks(self, count: int) -> tuple[LazyWeight, ...]:
        weight = self._given_units()
        return weight.chunks(count) if isinstance(weight, LazyWeight) else ()

    def over(self, parameters: Callable[[Tensor], Tensor]) -> UnitNoiseWeight:
        weight = UnitNoiseWeight(over_tensors(self.posterior_, parameters), output_noise=self.output_noise_)
        weight.kept_ = self.kept_
        weight.shared_ = None if self.shared_ is None else parameters(self.shared_)
        return weight
