"""Sparse variational dropout: multiplicative Gaussian noise of a learnt variance on every weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from pyro_vd._core.arguments import check_choice
from pyro_vd.distributions.weight_posterior import MultiplicativeNormal, SharedAlphaNormal, WeightPosterior
from pyro_vd.guides.checks import check_log_sigma2, initial_log_sigma2
from pyro_vd.guides.settings import GuideSettings
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork

_NO_VARIANCE = -1e30  # log σ² of a removed weight: σ is exactly 0, and log α = log σ² − log 0² is +∞, because log σ² is finite
_NO_INFORMATION = 60.0  # log α of a removed weight where α is shared: its KL is 0

Sharing = Literal["weight", "row", "column", "layer"]
"""The weights that share one α: no two weights, those into one unit, those out of one unit, or those of one layer."""


class _HasSharing:
    """What the guide and its settings have in common."""

    alpha_sharing: Sharing

    @property
    def ranks_inputs(self) -> bool:
        return self.alpha_sharing in ("weight", "column")


class VariationalDropout(_HasSharing, WeightGuide):
    """q(w) = N(θ, αθ²) with θ and α learnt (Molchanov 2017, arXiv 1701.05369, section 4).

    With one α per weight, the parameters are θ and log σ², where σ² = αθ². Where several weights share one α, the parameters
    are θ and log α (Kingma 2015, arXiv 1506.02557, section 3.2, with independent noise per weight).

    Args:
        model: the Bayesian network; θ starts at its weights.
        log_sigma2: log σ² at the start, in [−60, 0]; about −10 for a new network, −8 for a trained one. A mapping gives it by
            name or pattern, of which the first that matches a site counts: ``{"embedding.*": -6, "*": -10}``. A shared log α
            starts at ``log_sigma2`` minus the log of the mean θ².
        alpha_sharing: which weights share one α. ``"weight"``: none, every weight has its own. ``"row"``: those into one unit
            (dimension 0 of the weight of a linear layer or a convolution, dimension 1 of a transposed convolution).
            ``"column"``: those out of one unit (the other dimension). ``"layer"``: all weights of one layer.

    Raises:
        InputError: ``log_sigma2`` or ``alpha_sharing`` is out of range; ``log_sigma2`` gives a site no value; or weights have
            half precision.

    Examples:
        >>> from torch import nn
        >>> from pyro_vd import BayesianNetwork, VariationalDropout
        >>> guide = VariationalDropout(BayesianNetwork(nn.Linear(4, 3)), log_sigma2=-8.0)
        >>> {name: tuple(parameter.shape) for name, parameter in guide.named_parameters()}
        {'sites.weight.theta': (3, 4), 'sites.weight.log_sigma2': (3, 4)}
    """

    learns_alpha = True

    def __init__(
        self, model: BayesianNetwork, log_sigma2: float | Mapping[str, float] = -10.0, alpha_sharing: Sharing = "weight"
    ) -> None:
        self._initial_log_sigma2 = initial_log_sigma2(log_sigma2, model)
        check_choice("alpha_sharing", alpha_sharing, get_args(Sharing))
        self.alpha_sharing: Sharing = alpha_sharing
        super().__init__(model)

    def extra_repr(self) -> str:
        return f"alpha_sharing={self.alpha_sharing!r}"

    def initial_parameters(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        theta = super().initial_parameters(name, weight)
        if self.alpha_sharing == "weight":
            return {**theta, "log_sigma2": torch.full_like(weight, self._initial_log_sigma2[name])}
        axis = {"row": "out", "column": "in"}.get(self.alpha_sharing)
        axes = self.model.weight_axes(name)
        kept = axes.index(axis) if axis in axes else None
        squares = weight.square().mean([d for d in range(weight.ndim) if d != kept], keepdim=True)
        return {**theta, "log_alpha": self._initial_log_sigma2[name] - (squares + 1e-30).log()}

    def posterior(self, name: str) -> WeightPosterior:
        """Return the posterior of a weight site, in which weights that a mask has removed are zero."""
        site, mask = self.site(name), self.mask(name)
        if self.alpha_sharing == "weight":
            log_sigma2 = site.log_sigma2 if mask is None else torch.where(mask, site.log_sigma2, _NO_VARIANCE)
            return MultiplicativeNormal(self.mean(name), log_sigma2, validate_args=False)
        log_alpha = site.log_alpha if mask is None else torch.where(mask, site.log_alpha, _NO_INFORMATION)
        return SharedAlphaNormal(self.mean(name), log_alpha, validate_args=False)

    def leaves(self, name: str) -> tuple[Tensor, Tensor, Tensor | None] | None:
        if type(self) is not VariationalDropout or self.alpha_sharing != "weight" or "others" in self._modules:
            return None
        site = self.site(name)
        return site.theta, site.log_sigma2, site._buffers.get("mask")


@dataclass
class VariationalDropoutSettings(_HasSharing, GuideSettings):
    """Variational dropout: Gaussian noise of a learnt variance on every weight."""

    kind: Literal["variational"] = field(default="variational", init=False)
    log_sigma2: float | dict[str, float] = -10.0
    """The initial log σ² of every weight, in [−60, 0]: about −10 for a new network, −8 for a pretrained one; or a mapping from
    sites or patterns to it, of which the first that matches counts."""
    alpha_sharing: Sharing = "weight"
    """The weights that share one α: no two (weight), or those of one row, one column or one layer."""

    guide: ClassVar[type[VariationalDropout]] = VariationalDropout

    def __post_init__(self) -> None:
        self.log_sigma2 = check_log_sigma2(self.log_sigma2)
        check_choice("alpha_sharing", self.alpha_sharing, get_args(Sharing))

    def build(self, model: BayesianNetwork) -> VariationalDropout:
        return VariationalDropout(model, self.log_sigma2, self.alpha_sharing)
