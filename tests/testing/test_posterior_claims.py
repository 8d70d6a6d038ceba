"""The conformance class of posteriors finds what is wrong: each here breaks one claim, and the test of that claim fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conformance_support import FAILED, Wide
from torch import Tensor
from torch.distributions import register_kl

from pyro_vd.distributions import LogUniform, MultiplicativeNormal, NormalJeffreys
from pyro_vd.distributions.kl import kl_exact
from pyro_vd.testing import PosteriorConformance


class Right(MultiplicativeNormal):
    pass


class HalfPrecision(Right):
    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return super().rsample(sample_shape).float()


class WideDraws(Right):
    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.theta + 1.05 * (super().rsample(sample_shape) - self.theta)


class NoGradient(Right):
    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.theta + (super().rsample(sample_shape) - self.theta).detach()


class OtherDensity(Right):
    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) + 0.01


class Negative(Right):
    pass


class Twice(Right):
    pass


class Infinite(Right):
    pass


class WideOutputs(Right, Wide):
    pass


@register_kl(Right, LogUniform)
def _right(q: Right, p: LogUniform) -> Tensor:
    return kl_exact(q.theta, q.log_sigma2)


@register_kl(Negative, LogUniform)
def _negative(q: Negative, p: LogUniform) -> Tensor:
    return kl_exact(q.theta, q.log_sigma2) - 3


@register_kl(Twice, LogUniform)
def _twice(q: Twice, p: LogUniform) -> Tensor:
    return 2 * kl_exact(q.theta, q.log_sigma2)


@register_kl(Infinite, LogUniform)
def _infinite(q: Infinite, p: LogUniform) -> Tensor:
    return 0.5 * torch.log1p(q.theta.square() / q.variance)


POSTERIORS: dict[str, tuple[type[Right], str]] = {
    "shapes": (HalfPrecision, "test_shapes"),
    "moments": (WideDraws, "test_moments_are_those_of_the_draws"),
    "gradients": (NoGradient, "test_draws_are_reparameterized"),
    "density": (OtherDensity, "test_log_prob_is_the_density_of_the_draws"),
    "negative KL": (Negative, "test_the_kl_is_registered_and_not_negative"),
    "another KL": (Twice, "test_the_kl_is_that_of_the_draws"),
    "extremes": (Infinite, "test_numbers_and_gradients_are_finite_at_the_extremes"),
    "outputs": (WideOutputs, "test_outputs_drawn_locally_are_distributed_as_under_drawn_weights"),
}


class ConformanceOfPosterior(PosteriorConformance):
    extremes = {"theta": (0.0, 1.0), "log_sigma2": (-120.0, 0.0)}

    def __init__(self, kind: type[Right]) -> None:
        self.kind = kind

    def parameters(self) -> dict[str, Tensor]:
        return {"theta": torch.randn(4, 3), "log_sigma2": torch.randn(4, 3) - 1}

    def make(self, **parameters: Tensor) -> Any:
        return self.kind(**parameters)

    def prior(self) -> Any:
        return LogUniform((4, 3))


@pytest.mark.parametrize(("kind", "test"), POSTERIORS.values(), ids=POSTERIORS)
def test_posteriors(kind: type[Right], test: str) -> None:
    with pytest.raises(FAILED):
        getattr(ConformanceOfPosterior(kind), test)()
    getattr(ConformanceOfPosterior(Right), test)()


def test_a_kl_that_is_not_registered_is_found() -> None:
    class OtherPrior(ConformanceOfPosterior):
        def prior(self) -> Any:
            return NormalJeffreys((4, 3))

    with pytest.raises(NotImplementedError):
        OtherPrior(Right).test_the_kl_is_registered_and_not_negative()
