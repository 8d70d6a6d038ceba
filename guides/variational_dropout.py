"""Sparse variational dropout: multiplicative Gaussian noise on every weight, its variance learnt."""

from __future__ import annotations

import torch
from torch import Tensor

from pyro_vd.checks import check_number
from pyro_vd.distributions import MultiplicativeNormal
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork

_NO_VARIANCE = -1e30  # log σ² of a removed weight: σ is 0 exactly, and finite minus log 0² is a log α of +∞


class VariationalDropout(WeightGuide):
    """q(w) = N(θ, σ²) with θ and log σ² learnt, one pair a weight (Molchanov 2017, arXiv 1701.05369, section 4).

    Args:
        model: the network whose weights it is the posterior of; θ starts at the network's own weights.
        log_sigma2: log σ² at the start, finite and at most 0. From −10 for a new network, about −8 for a trained one.

    Raises:
        InputError: ``log_sigma2`` out of range.
    """

    def __init__(self, model: BayesianNetwork, log_sigma2: float = -10.0) -> None:
        check_number("log_sigma2", log_sigma2, low=-60, high=0)
        self._initial_log_sigma2 = log_sigma2
        super().__init__(model)

    def initial_parameters(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        return {"theta": weight.clone(), "log_sigma2": torch.full_like(weight, self._initial_log_sigma2)}

    def posterior(self, name: str) -> MultiplicativeNormal:
        log_sigma2, mask = self.site(name).log_sigma2, self.mask(name)
        if mask is not None:
            log_sigma2 = torch.where(mask, log_sigma2, _NO_VARIANCE)
        return MultiplicativeNormal(self.mean(name), log_sigma2, validate_args=False)
