"""Base class of posteriors of a layer's weight under noise on the layer's inputs."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_vd._core.errors import InputError
from pyro_vd.distributions.unit_draws import SharedUnits
from pyro_vd.distributions.unit_layout import UnitLayout


class UnitPosterior(TorchDistribution):
    """Posterior of w = v diag(z), with a random factor z per input unit or channel.

    The layer then computes with the inputs z · x, so z = 0 removes the unit that gives x. Either v = θ, or v ~ N(θ, σ²).

    Args:
        theta: mean θ of v, one event.
        log_sigma2: log σ² of v, in the shape of θ; None for v = θ.
        mask: in the shape of θ, False where v is permanently removed, that is 0; None removes no weight.
        layout: which z multiplies which entry; None for one z per index of dimension 1, as in a linear layer or a convolution.

    Raises:
        InputError: θ has fewer than two dimensions, and there is no layout.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}
    support: constraints.Constraint = constraints.real
    has_rsample = True

    def __init__(
        self,
        theta: Tensor,
        log_sigma2: Tensor | None = None,
        mask: Tensor | None = None,
        layout: UnitLayout | None = None,
    ) -> None:
        if theta.ndim < 2 and layout is None:
            raise InputError(
                f"theta has the shape {tuple(theta.shape)}; it must have at least two dimensions, outputs and inputs",
                name="theta",
                value=tuple(theta.shape),
                allowed="of at least two dimensions, outputs and inputs",
            )
        self.theta: Tensor = theta if mask is None else theta * mask
        self.log_sigma2: Tensor | None = log_sigma2
        self.mask: Tensor | None = mask
        self.shared: SharedUnits | None = None
        """What is shared with other posteriors; None where z belongs to this one alone. Set by the guide."""
        self.layout: UnitLayout = UnitLayout(theta.shape[1]) if layout is None else layout
        super().__init__(torch.Size(), theta.shape, validate_args=False)

    @property
    def unit_log_alpha(self) -> Tensor | None:
        """log α of each z, ``(units,)``; None if it is not learnt."""
        return None

    @property
    def weight_variance(self) -> Tensor | None:
        """σ², the variance of v, in the shape of θ; None if v = θ."""
        if self.log_sigma2 is None:
            return None
        return self.log_sigma2.exp() if self.mask is None else self.log_sigma2.exp() * self.mask

    @property
    @abstractmethod
    def z_mean(self) -> Tensor:
        """E z, ``(units,)``."""

    @property
    @abstractmethod
    def z_variance(self) -> Tensor:
        """Var z, ``(units,)``."""

    @property
    def mean(self) -> Tensor:
        """E w = θ E z."""
        return self.theta * self.over_weight(self.z_mean)

    @property
    def variance(self) -> Tensor:
        """Var w = (σ² + θ²) Var z + σ² (E z)²."""
        variance = self.weight_variance
        own = self.theta.new_zeros(()) if variance is None else variance
        z_mean, z_variance = self.over_weight(self.z_mean), self.over_weight(self.z_variance)
        return z_variance * (own + self.theta.square()) + z_mean.square() * own

    @property
    def weight_log_alpha(self) -> Tensor:
        """log Var w − log (E w)² per weight, by which weights of the remaining units are pruned; not for gradients.

        It is at least the log α of the weight's unit, and +∞ where E w = 0.
        """
        mean = self.mean.double()
        return (self.variance.double().log() - 2 * mean.abs().log()).masked_fill(mean == 0, torch.inf).to(self.theta.dtype)

    def over_weight(self, z: Tensor) -> Tensor:
        """Return the factor of each entry of the weight, in a shape that broadcasts to it, from z ``(…, units)``."""
        return self.layout.over_weight(z, self.theta.shape)

    @abstractmethod
    def units(self, sample_shape: torch.Size | tuple[int, ...], of: Tensor | None = None) -> Tensor:
        """Draw z.

        Args:
            sample_shape: how many draws.
            of: the numbers of the units of which z is drawn, each time anew, in any shape; None draws that of every unit.

        Returns:
            The draws, ``(*sample_shape, units)``, or ``(*sample_shape, *of.shape)``.
        """

    @property
    def left(self) -> Tensor | None:
        """True for units with remaining weights, ``(units,)``; None if no weight is removed."""
        return None if self.mask is None else self.layout.has_weights(self.mask)

    def units_kl(self, divergence: Tensor) -> Tensor:
        """Return the sum of a KL divergence of each z, ``(units,)``, over those that have weights and are counted here."""
        left = self.left if self.shared is None else self.shared.left()
        return (divergence if left is None else divergence * left).sum()

    @property
    def counts_units(self) -> bool:
        """Whether the KL of z is part of this posterior's, and not of another's that has the same z."""
        return self.shared is None or self.shared.is_counted

    @property
    def log_alpha(self) -> Tensor | None:
        """log α of the z of each weight, in the weight's shape; +∞ for removed weights. Not for gradients."""
        if (units := self.unit_log_alpha) is None:
            return None
        values = self.over_weight(units).expand(self.theta.shape)
        return values if self.mask is None else values.masked_fill(~self.mask, torch.inf)

    def rsample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        v = self.theta.expand(*sample_shape, *self.theta.shape)
        if self.log_sigma2 is not None:
            std = (0.5 * self.log_sigma2).exp()  # √variance would have an infinite gradient where weights are removed
            v = torch.addcmul(v, std if self.mask is None else std * self.mask, torch.randn_like(v))
        draws = None if self.shared is None or sample_shape else self.shared.draws
        z = self.units(sample_shape) if draws is None else draws.of_pass()
        return v * self.over_weight(z).to(v.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        name = type(self).__name__
        raise InputError(f"{name} has no useful density of w, because weights of a unit share one z; use its KL", name=name)
