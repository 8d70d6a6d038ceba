"""A guide, two posteriors and a likelihood that are made here, without a change in the library, satisfy what its own must."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor, nn
from torch.distributions import register_kl

from pyro_vd.distributions import LogUniform
from pyro_vd.distributions.kl import kl_exact
from pyro_vd.distributions.weight_posterior import WeightPosterior
from pyro_vd.guides import WeightGuide
from pyro_vd.models import BayesianNetwork, Likelihood
from pyro_vd.models.likelihoods import LIKELIHOODS
from pyro_vd.testing import GuideConformance, LikelihoodConformance, PosteriorConformance


class AdditiveNormal(WeightPosterior):
    """q(w) = N(θ, σ²) with a fixed σ, the same for all weights that are left."""

    arg_constraints = {}

    def __init__(self, theta: Tensor, sigma: float, mask: Tensor | None = None) -> None:
        self.theta = theta
        self.sigma = torch.full_like(theta, sigma) if mask is None else sigma * mask.to(theta)
        super().__init__(theta.shape, validate_args=False)

    @property
    def variance(self) -> Tensor:
        return self.sigma.square()

    @property
    def log_alpha(self) -> Tensor:
        return (self.log_sigma2 - 2 * self.theta.abs().log()).masked_fill(self.theta == 0, torch.inf)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.theta + self.sigma * torch.randn(shape, dtype=self.theta.dtype, device=self.theta.device)

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.distributions.Normal(self.theta, self.sigma).log_prob(value)


@register_kl(AdditiveNormal, LogUniform)
def _kl_log_uniform(q: AdditiveNormal, p: LogUniform) -> Tensor:
    left = q.sigma > 0
    return kl_exact(q.theta, torch.where(left, q.variance, 1.0).log()) * left


class AdditiveNoise(WeightGuide):
    """Noise of the same fixed variance on every weight: α is learnt through θ alone."""

    def __init__(self, model: BayesianNetwork, sigma: float) -> None:
        super().__init__(model)
        self.sigma = sigma

    def extra_repr(self) -> str:
        return f"sigma={self.sigma}"

    def posterior(self, name: str) -> TorchDistribution:
        return AdditiveNormal(self.mean(name), self.sigma, self.mask(name))


class Laplace(dist.Laplace):
    """q(w) = Laplace(θ, b), 0 where a weight was removed; no output is drawn under it, but the whole weight."""

    def __init__(self, loc: Tensor, scale: Tensor, mask: Tensor | None = None) -> None:
        super().__init__(loc, scale if mask is None else scale * mask, validate_args=False)


class StandardNormal(dist.Normal):
    """N(0, 1) of every weight."""

    def __init__(self, shape: torch.Size | tuple[int, ...]) -> None:
        super().__init__(torch.zeros(shape), 1.0)


@register_kl(Laplace, StandardNormal)
def _kl_standard_normal(q: Laplace, p: StandardNormal) -> Tensor:
    scale = torch.where(q.scale > 0, q.scale, 1.0)
    whole = 0.5 * math.log(2 * math.pi) - 1 - math.log(2) - scale.log() + q.loc.square() / 2 + scale.square()
    return whole * (q.scale > 0)


class LaplaceGuide(WeightGuide):
    """Laplace noise of a learnt scale."""

    needs_float32 = True

    def initial_parameters(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        return {**super().initial_parameters(name, weight), "log_scale": torch.full_like(weight, -3.0)}

    def posterior(self, name: str) -> TorchDistribution:
        return Laplace(self.mean(name), self.site(name).log_scale.exp(), self.mask(name))


class StudentT(nn.Module):
    """Numbers with heavy tails: y ~ t₅(output, scale), the scale learnt."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    @property
    def options(self) -> dict[str, float]:
        return {"scale": self.log_scale.exp().item()}

    def forward(self, output: Tensor) -> TorchDistribution:
        return dist.StudentT(5.0, output[:, 0], self.log_scale.exp(), validate_args=False)


class TestAdditiveNormal(PosteriorConformance):
    extremes = {"theta": (0.0, 1e-30, 1e4)}

    def parameters(self) -> dict[str, Tensor]:
        return {"theta": torch.randn(4, 3)}

    def make(self, **parameters: Any) -> TorchDistribution:
        return AdditiveNormal(**parameters, sigma=0.3)

    def prior(self) -> TorchDistribution:
        return LogUniform((4, 3), kl="exact")


class TestLaplace(PosteriorConformance):
    extremes = {"scale": (1e-10, 1e10)}

    def parameters(self) -> dict[str, Tensor]:
        return {"loc": torch.randn(4, 3), "scale": torch.rand(4, 3) + 0.1}

    def make(self, **parameters: Any) -> TorchDistribution:
        return Laplace(**parameters)

    def prior(self) -> TorchDistribution:
        return StandardNormal((4, 3))


class TestAdditiveNoise(GuideConformance):
    def make(self, model: BayesianNetwork) -> WeightGuide:
        return AdditiveNoise(model, sigma=0.1)


class TestLaplaceGuide(GuideConformance):
    prior = StandardNormal

    def make(self, model: BayesianNetwork) -> WeightGuide:
        return LaplaceGuide(model)


class TestStudentT(LikelihoodConformance):
    """Listed with those of the library, so that files can name it."""

    @pytest.fixture(autouse=True)
    def _listed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(LIKELIHOODS, "student-t", StudentT)

    def make(self) -> Likelihood:
        return StudentT(scale=0.5)
