"""Posteriors of a layer's weight under noise on the layer's inputs: what they have in common."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_vd._core.errors import InputError


class UnitPosterior(TorchDistribution):
    """q(w) with w = v diag(z): a weight v, and a random factor z for each input unit or channel, the weight's dimension 1.

    z · x is then the input of the layer, so that z = 0 removes the unit that x comes from. v = θ, or has noise of its own.

    Args:
        theta: mean θ of v, at least two dimensions, one event.
        log_sigma2: log σ² of v, in the shape of θ; None where v = θ.
        mask: False where v is removed for good: it is 0 there. None removes nothing.

    Raises:
        InputError: θ has fewer than two dimensions.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support: constraints.Constraint = constraints.real
    has_rsample = True

    def __init__(self, theta: Tensor, log_sigma2: Tensor | None = None, mask: Tensor | None = None) -> None:
        if theta.ndim < 2:
            raise InputError(
                f"theta has the shape {tuple(theta.shape)}; it must have at least two dimensions, outputs and inputs"
            )
        self.theta: Tensor = theta if mask is None else theta * mask
        self.log_sigma2: Tensor | None = log_sigma2
        self.mask: Tensor | None = mask
        super().__init__(torch.Size(), theta.shape, validate_args=False)

    @property
    def unit_shape(self) -> torch.Size:
        """The shape of z: one entry per unit, and a dimension of 1 for each spatial one."""
        return unit_shape(self.theta)

    @property
    def unit_log_alpha(self) -> Tensor | None:
        """log α of each z, in the shape :attr:`unit_shape`; None where it is not learnt."""
        return None

    @property
    def weight_variance(self) -> Tensor | None:
        """σ², the variance of v; None where v = θ."""
        if self.log_sigma2 is None:
            return None
        return self.log_sigma2.exp() if self.mask is None else self.log_sigma2.exp() * self.mask

    @property
    @abstractmethod
    def z_mean(self) -> Tensor:
        """E z, in a shape that broadcasts to :attr:`unit_shape`."""

    @property
    @abstractmethod
    def z_variance(self) -> Tensor:
        """Var z, likewise."""

    @property
    def mean(self) -> Tensor:
        """E w = θ E z."""
        return self.theta * self.z_mean

    @property
    def variance(self) -> Tensor:
        """Var w = (σ² + θ²) Var z + σ² (E z)²."""
        variance = self.weight_variance
        own = self.theta.new_zeros(()) if variance is None else variance
        return self.z_variance * (own + self.theta.square()) + self.z_mean.square() * own

    @property
    def weight_log_alpha(self) -> Tensor:
        """log Var w − log (E w)² of every weight, at least that of its unit: what pruning inside the units left goes by.

        +∞ where E w = 0. For reading, not for gradients.
        """
        mean = self.mean.double()
        return (self.variance.double().log() - 2 * mean.abs().log()).masked_fill(mean == 0, torch.inf).to(self.theta.dtype)

    @abstractmethod
    def units(self, sample_shape: torch.Size | tuple[int, ...]) -> Tensor:
        """Draws of z, in the shape ``(*sample_shape, *unit_shape)``."""

    @property
    def left(self) -> Tensor | None:
        """True for units that have a weight left; None where nothing is removed."""
        return None if self.mask is None else self.mask.transpose(0, 1).flatten(1).any(1).reshape(self.unit_shape)

    @property
    def log_alpha(self) -> Tensor | None:
        """log α of z for every weight that it multiplies, in the weight's shape; +∞ for removed weights. For reading only."""
        if (units := self.unit_log_alpha) is None:
            return None
        values = units.expand(self.theta.shape)
        return values if self.mask is None else values.masked_fill(~self.mask, torch.inf)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        v = self.theta.expand(*sample_shape, *self.theta.shape)
        if self.log_sigma2 is not None:
            std = (0.5 * self.log_sigma2).exp()  # no root of a variance that is 0, as that of a removed weight is
            v = torch.addcmul(v, std if self.mask is None else std * self.mask, torch.randn_like(v))
        return v * self.units((*sample_shape, 1)).to(v.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        raise InputError(f"{type(self).__name__} has no density of w that is of use: its weights share their z; use its KL")


def unit_shape(weight: Tensor) -> torch.Size:
    """What multiplies ``weight`` by input unit or channel: ``(inputs,)``, and a dimension of 1 for each spatial one."""
    return torch.Size((weight.shape[1], *(1 for _ in weight.shape[2:])))
