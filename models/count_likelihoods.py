"""Likelihoods of counts: Poisson, and negative binomial with a larger variance."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vd.models.learnt_number import keep_logarithm
from pyro_vd.models.likelihood import one_per_example, without_column


class Poisson:
    """Counts with a log link, y ~ Poisson(exp(output)).

    Output and observations have the shapes of :class:`~pyro_vd.models.Normal`; observations are whole numbers of at least 0.
    """

    def __call__(self, output: Tensor) -> dist.TorchDistribution:
        return one_per_example(dist.Poisson(without_column(output).exp(), validate_args=False))


class NegativeBinomial(nn.Module):
    """Counts with a log link and a larger variance than Poisson's: mean μ = exp(output), variance μ + dispersion · μ².

    Output and observations have the shapes of :class:`~pyro_vd.models.Normal`; observations are whole numbers of at least 0.

    Args:
        dispersion: a number above 0; near 0 the distribution is Poisson's. None learns it with the network; the parameter
            ``log_dispersion`` is its logarithm.
        initial_dispersion: the start of a learnt dispersion.

    Raises:
        InputError: an argument is not a finite number above 0.
    """

    log_dispersion: Tensor

    def __init__(self, dispersion: float | None = None, initial_dispersion: float = 1.0) -> None:
        super().__init__()
        keep_logarithm(self, "dispersion", dispersion, initial_dispersion)

    @property
    def dispersion(self) -> float:
        """The dispersion, (variance − mean) / mean²."""
        return self.log_dispersion.exp().item()

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments that a file keeps; see :func:`~pyro_vd.models.likelihood_files.describe`."""
        return {"dispersion": self.dispersion}

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        logits = without_column(output) + self.log_dispersion
        total = (-self.log_dispersion).exp()
        return one_per_example(dist.NegativeBinomial(total, logits=logits, validate_args=False))

    def extra_repr(self) -> str:
        learnt = ", learnt" if isinstance(self.log_dispersion, nn.Parameter) else ""
        return f"dispersion={self.dispersion:.4g}{learnt}"
