"""What every posterior of a weight satisfies."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import pyro
import pytest
import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vd._core.errors import InputError
from pyro_vd.inference.lazy_weight import LazyWeight
from pyro_vd.inference.reparam import LocalReparameterization
from pyro_vd.testing.statistics import ERRORS, Seeded, check_alike, check_mean

DRAWS = 50_000
_MAPS: dict[int, Callable[..., Tensor]] = {2: F.linear, 3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


class PosteriorConformance(Seeded, ABC):
    """Tests of a distribution of weights: its moments, density, gradients and KL, and the outputs of a layer under it.

    A subclass says how it is made of its parameters, at what extremes its numbers must be finite, and under which prior::

        class TestMyPosterior(PosteriorConformance):
            extremes = {"theta": (0.0, 1e-30, 1e4), "log_sigma2": (-60.0, 60.0)}

            def parameters(self):
                return {"theta": torch.randn(4, 3), "log_sigma2": torch.randn(4, 3) - 1}

            def make(self, theta, log_sigma2):
                return MyPosterior(theta, log_sigma2)

            def prior(self):
                return LogUniform((4, 3), kl="exact")
    """

    extremes: Mapping[str, tuple[float, ...]] = {}
    """By parameter, values at which draws, KL and gradients must be finite, in all combinations; others are as they come."""
    has_density = True
    """Whether ``log_prob`` is the density of each weight by itself; otherwise it raises an error that says so."""
    kl_is_expectation = True
    """Whether the KL is E[log q − log p] up to a constant of the prior's, which is improper, and ``log_prob`` gives both."""
    kl_error: float = 0.0
    """Most that the KL of a weight may be off, in nats, as an approximation."""

    @abstractmethod
    def parameters(self) -> dict[str, Tensor]:
        """Random parameters, by name, of a weight of two dimensions or more: outputs, inputs, then those of a kernel."""

    @abstractmethod
    def make(self, **parameters: Any) -> TorchDistribution:
        """The posterior with these parameters."""

    @abstractmethod
    def prior(self) -> TorchDistribution:
        """A prior of the weight, to which the KL is registered."""

    def posterior(self) -> TorchDistribution:
        """One with random parameters in float64, so that rounding is no matter."""
        return self.make(**{name: value.double() for name, value in self.parameters().items()})

    def kl(self, q: TorchDistribution) -> Tensor:
        """KL(q‖p) of the whole weight."""
        prior = self.prior()
        return kl_divergence(q.to_event(len(q.batch_shape)), prior.to_event(len(prior.batch_shape)))

    def test_shapes(self) -> None:
        """Draws, mean and variance have the weight's shape and type; draws have a gradient."""
        q = self.posterior()
        shape = q.shape()
        assert q.has_rsample
        assert len(shape) >= 2
        assert q.rsample().shape == q.mean.expand(shape).shape == q.variance.expand(shape).shape == shape
        assert q.rsample((2, 5)).shape == (2, 5, *shape)
        assert q.rsample().dtype == q.mean.dtype == q.variance.dtype == torch.float64
        assert self.make(**self.parameters()).rsample().dtype == torch.float32

    def test_moments_are_those_of_the_draws(self) -> None:
        """Mean and variance, within standard errors."""
        q = self.posterior()
        draws = q.rsample((DRAWS,))
        check_mean(draws, q.mean)
        check_mean((draws - q.mean).square(), q.variance)

    def test_draws_are_reparameterized(self) -> None:
        """The gradient of Σ c w², averaged over draws, is that of Σ c E w² = Σ c ((E w)² + Var w)."""
        parameters = {name: value.double().requires_grad_() for name, value in self.parameters().items()}
        q = self.make(**parameters)
        c = torch.randn(q.shape(), dtype=torch.float64)
        exact = torch.autograd.grad((c * (q.mean.square() + q.variance)).sum(), [*parameters.values()])
        draws = [(c * self.make(**parameters).rsample((100,)).square()).sum() / 100 for _ in range(300)]
        found = [torch.autograd.grad(draw, [*parameters.values()], materialize_grads=True) for draw in draws]
        for gradients, expected in zip(zip(*found, strict=True), exact, strict=True):
            check_mean(torch.stack(gradients), expected)

    def test_log_prob_is_the_density_of_the_draws(self) -> None:
        """It integrates to one, with the mean and the variance of the distribution; without a density it says so."""
        q = self.posterior()
        if not self.has_density:
            with pytest.raises((InputError, NotImplementedError)):
                q.log_prob(q.mean)
            return
        z = torch.linspace(-12, 12, 20_001, dtype=torch.float64).view(-1, *(1 for _ in q.shape()))
        std = q.variance.sqrt()
        density = q.log_prob(q.mean + z * std).exp() * std
        for moment, expected in ((torch.ones_like(z), 1.0), (z, 0.0), (z.square(), 1.0)):
            integral = torch.trapezoid(density * moment, z.flatten(), dim=0)
            torch.testing.assert_close(integral, torch.full_like(integral, expected), rtol=0, atol=1e-3)

    def test_the_kl_is_registered_and_not_negative(self) -> None:
        """KL(q‖p) of the whole weight is one number, at least 0."""
        kl = self.kl(self.posterior())
        assert kl.shape == ()
        assert kl >= -1e-9

    def test_the_kl_is_that_of_the_draws(self) -> None:
        """Two posteriors differ in KL as in the mean of log q − log p over draws; a prior's constant is in both."""
        if not self.kl_is_expectation:
            return
        kls, means, errors, size = [], [], [], 1
        for _ in range(2):
            q, p = self.posterior(), self.prior()
            size = math.prod(q.shape())
            w = q.rsample((DRAWS,))
            terms = [d.log_prob(w).flatten(1).sum(1) for d in (q, p)]
            kls.append(self.kl(q))
            means.append((terms[0] - terms[1]).mean())
            errors.append((terms[0] - terms[1]).std() / math.sqrt(DRAWS))
        error = ERRORS * math.hypot(*(error.item() for error in errors)) + 2 * size * self.kl_error
        assert abs((kls[0] - kls[1]) - (means[0] - means[1])) < error

    def test_numbers_and_gradients_are_finite_at_the_extremes(self) -> None:
        """Draws, outputs of a layer, KL, and the gradients of all parameters, at every combination of extremes."""
        for values in product(*self.extremes.values()):
            fixed = dict(zip(self.extremes, values, strict=True))
            parameters = {
                name: torch.full_like(value, fixed.get(name, 0.0)) if name in fixed else value.clone()
                for name, value in self.parameters().items()
            }
            for parameter in parameters.values():
                parameter.requires_grad_()
            q = self.make(**parameters)
            output = self.output(self.layer_weight(q), 4)
            kl = self.kl(q)
            bounded = torch.tanh(q.rsample()).sum() + torch.tanh(output).sum()
            gradients = torch.autograd.grad(kl + bounded, [*parameters.values()], allow_unused=True)
            assert kl.isfinite(), fixed
            assert output.isfinite().all(), fixed
            assert all(each is None or each.isfinite().all() for each in gradients), fixed

    def test_outputs_drawn_locally_are_distributed_as_under_drawn_weights(self) -> None:
        """Local reparameterization gives the outputs of a layer the means, variances and covariances under drawn weights."""
        q = self.posterior()
        with torch.no_grad():
            weight = self.layer_weight(q)
            if not isinstance(weight, LazyWeight):  # it is drawn, and no output
                assert weight.shape == q.shape()
                return
            local = self.output(weight, DRAWS)
            drawn = torch.vmap(lambda weight: self.output(weight, 1)[0])(q.rsample((DRAWS,)))
        check_alike(local.flatten(1), drawn.flatten(1))

    def layer_weight(self, q: TorchDistribution) -> Tensor:
        """The weight as training draws it, by the outputs of its layer."""
        with LocalReparameterization():
            weight: Tensor = pyro.sample("weight", q.to_event(len(q.batch_shape)))
        return weight

    def output(self, weight: Tensor, rows: int) -> Tensor:
        """Outputs of a layer with this weight, for the same input in so many rows; a kernel has one position."""
        x = torch.linspace(-1, 1, math.prod(weight.shape[1:]), dtype=weight.dtype).view(1, *weight.shape[1:])
        return _MAPS[weight.ndim](x.expand(rows, *x.shape[1:]), weight)
