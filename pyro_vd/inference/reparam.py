"""Local reparameterization: draw a layer's output instead of its weights (Kingma 2015, arXiv 1506.02557, section 2.1).

The output of a linear map whose weight has independent Gaussian entries is Gaussian, f(x; w) ~ N(f(x; θ), f(x²; σ²)). Drawing
this output independently for each row of the batch needs fewer random numbers and gives a gradient of far lower variance. The
effect handler :class:`LocalReparameterization` switches it on: the value of a weight site is then a
:class:`~.lazy_weight.LazyWeight`. Nothing global is patched, so plain tensors and other threads are not affected.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vd.distributions.unit_posterior import UnitPosterior
from pyro_vd.distributions.weight_posterior import WeightPosterior
from pyro_vd.evaluation.class_labels import base_distribution
from pyro_vd.inference.gaussian_weight import GaussianWeight
from pyro_vd.inference.lazy_weight import LazyWeight, drawn
from pyro_vd.inference.output_noise import OutputNoise, check_output_noise
from pyro_vd.inference.recomputation import cut_off, is_recomputing
from pyro_vd.inference.unit_noise import UnitNoiseWeight
from pyro_vd.networks.linear_map import LinearMap

TRAIN_THRESHOLD = "train_threshold"
"""Key of a site's ``infer``: the log α from which on means are zero in the forward pass; None zeroes no mean."""


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
        if msg["done"] or msg["is_observed"]:
            return
        weight = lazy_weight(msg["fn"], msg["infer"], self.noise)
        if weight is not None:
            msg["value"], msg["done"] = weight, True


def lazy_weight(q: Any, infer: Mapping[str, Any], noise: OutputNoise) -> LazyWeight | None:
    """Return a weight with the distribution ``q`` whose output is drawn; None if ``q`` is no posterior of this library.

    Args:
        q: the distribution of a guide's site.
        infer: that of the site, in which a :data:`TRAIN_THRESHOLD` may be.
        noise: see :class:`LocalReparameterization`.
    """
    base = base_distribution(q)
    threshold: float | None = infer.get(TRAIN_THRESHOLD)
    if isinstance(base, UnitPosterior):
        return UnitNoiseWeight(base, threshold, noise)
    return gaussian_weight(base.theta, base.variance, threshold, noise) if isinstance(base, WeightPosterior) else None


def gaussian_weight(mean: Tensor, variance: Tensor, threshold: float | None, noise: OutputNoise) -> GaussianWeight:
    """Return a weight with this mean and variance whose output is drawn; means at or above the threshold are 0."""
    if threshold is not None:
        kept = mean.detach().square() > variance.detach() * math.exp(-threshold)
        mean = mean * kept
    return GaussianWeight(mean, variance, noise)
