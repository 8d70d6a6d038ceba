"""Every posterior of a weight satisfies what a posterior must; those with noise on units some more."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor

from pyro_vd.distributions import (
    GroupNormal,
    LogNormalUnits,
    LogUniform,
    MultiplicativeNormal,
    NormalARD,
    NormalJeffreys,
    SharedAlphaNormal,
    UnitDropout,
)
from pyro_vd.testing import PosteriorConformance

APPROXIMATE = 0.0094
"""Nats per weight by which the approximate KL may be off; see ``LogUniform``."""


class TestMultiplicativeNormal(PosteriorConformance):
    extremes = {"theta": (0.0, 1e-30, 1.0, 1e4), "log_sigma2": (-60.0, 0.0, 60.0)}
    kl_error = APPROXIMATE

    def parameters(self) -> dict[str, Tensor]:
        return {"theta": torch.randn(4, 3), "log_sigma2": torch.randn(4, 3) - 1}

    def make(self, theta: Tensor, log_sigma2: Tensor) -> TorchDistribution:
        return MultiplicativeNormal(theta, log_sigma2)

    def prior(self) -> TorchDistribution:
        return LogUniform((4, 3))


class TestMultiplicativeNormalWithExactKL(TestMultiplicativeNormal):
    kl_error = 0.0

    def prior(self) -> TorchDistribution:
        return LogUniform((4, 3), kl="exact")


class TestMultiplicativeNormalUnderNormalARD(TestMultiplicativeNormal):
    kl_is_expectation = False  # the prior is fitted to the posterior

    def prior(self) -> TorchDistribution:
        return NormalARD((4, 3))


class TestSharedAlphaNormal(PosteriorConformance):
    extremes = {"theta": (0.0, 1e-30, 1.0, 1e4), "log_alpha": (-60.0, 0.0, 20.0)}

    def parameters(self) -> dict[str, Tensor]:
        return {"theta": torch.randn(4, 3), "log_alpha": torch.randn(4, 1) - 1}

    def make(self, theta: Tensor, log_alpha: Tensor) -> TorchDistribution:
        return SharedAlphaNormal(theta, log_alpha)

    def prior(self) -> TorchDistribution:
        return LogUniform((4, 3), kl="exact")


class TestSharedAlphaNormalUnderNormalARD(TestSharedAlphaNormal):
    kl_is_expectation = False

    def prior(self) -> TorchDistribution:
        return NormalARD((4, 3))


class UnitPosteriorConformance(PosteriorConformance):
    """Of a posterior with noise on units: a kernel, whose log α are those of its units and of its draws."""

    has_density = False  # weights share the factor of their unit
    kl_is_expectation = False

    def parameters(self) -> dict[str, Tensor]:
        return {"theta": torch.randn(3, 4, 2)}

    def prior(self) -> TorchDistribution:
        return LogUniform((3, 4, 2)).to_event(3)

    def test_log_alpha_is_that_of_the_moments(self) -> None:
        """weight_log_alpha is log Var w − log (E w)²; a unit has one log α, below that of its weights, or equal to it."""
        q: Any = self.posterior()
        torch.testing.assert_close(q.weight_log_alpha, (q.variance / q.mean.square()).log())
        if (factors := q.log_alpha) is not None:
            assert torch.equal(factors, factors[:1, :, :1].expand(3, 4, 2))
            assert (q.weight_log_alpha > factors - 1e-6).all()
            if q.log_sigma2 is None:
                torch.testing.assert_close(q.weight_log_alpha, factors)


class TestGroupNormal(UnitPosteriorConformance):
    extremes = {"z_mu": (0.0, 1e-30, 1.0), "z_log_sigma2": (-60.0, 0.0, 20.0), "log_sigma2": (-60.0, 0.0, 20.0)}

    def parameters(self) -> dict[str, Tensor]:
        units = {"z_mu": torch.randn(4), "z_log_sigma2": torch.linspace(-6, 3, 4)}
        return {"theta": torch.randn(3, 4, 2), **units, "log_sigma2": torch.randn(3, 4, 2) - 1}

    def make(self, **parameters: Tensor) -> TorchDistribution:
        return GroupNormal(**parameters)

    def prior(self) -> TorchDistribution:
        return NormalJeffreys((3, 4, 2))


class TestGroupNormalOfUnitsAlone(TestGroupNormal):
    extremes = {"z_mu": (0.0, 1e-30, 1.0), "z_log_sigma2": (-60.0, 0.0, 60.0)}

    def parameters(self) -> dict[str, Tensor]:
        return {name: value for name, value in super().parameters().items() if name != "log_sigma2"}


class TestLogNormalUnits(UnitPosteriorConformance):
    extremes = {"z_mu": (-1e30, -20.0, 0.0, 1e30), "z_log_sigma2": (-60.0, 0.0, 60.0)}

    def parameters(self) -> dict[str, Tensor]:
        return {"theta": torch.randn(3, 4, 2), "z_mu": torch.randn(4) - 2, "z_log_sigma2": torch.linspace(-6, 3, 4)}

    def make(self, **parameters: Tensor) -> TorchDistribution:
        return LogNormalUnits(**parameters)


class TestLogNormalUnitsWithWeightNoise(TestLogNormalUnits):
    extremes = {"z_mu": (-1e30, 0.0), "z_log_sigma2": (-60.0, 60.0), "log_sigma2": (-60.0, 0.0, 60.0)}

    def parameters(self) -> dict[str, Tensor]:
        return {**super().parameters(), "log_sigma2": torch.randn(3, 4, 2) - 1}


class TestUnitDropout(UnitPosteriorConformance):
    extremes = {"theta": (0.0, 1e-30, 1e4)}

    def make(self, theta: Tensor) -> TorchDistribution:
        return UnitDropout(theta, 0.3)


class TestUnitDropoutWithGaussianNoise(TestUnitDropout):
    def make(self, theta: Tensor) -> TorchDistribution:
        return UnitDropout(theta, 0.3, "gaussian")
