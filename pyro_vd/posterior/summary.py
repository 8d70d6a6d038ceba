"""What a guide has learnt: log α of every weight, and how it is spread."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd.evaluation.checks import check_inputs
from pyro_vd.evaluation.scores import expected
from pyro_vd.guides.alpha import log_alpha
from pyro_vd.guides.checks import check_hold, check_pair
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.inference.joint_draws import evaluation_mode, mean_draws
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD, Threshold, check_threshold

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class LayerSummary:
    """log α of one weight site: quantiles at :data:`QUANTILES`, and how much lies above the threshold."""

    site: str
    weights: int
    pruned: int
    quantiles: tuple[float, ...]

    @property
    def sparsity(self) -> float:
        """Share of weights above the threshold, in [0, 1]."""
        return self.pruned / self.weights


def summarize(guide: WeightGuide, threshold: Threshold = DEFAULT_THRESHOLD) -> list[LayerSummary]:
    """One :class:`LayerSummary` per site; log α at or above ``threshold`` counts as pruned.

    Raises:
        InputError: no threshold; or as :func:`log_alpha`.
    """
    threshold, summaries = check_threshold(threshold), []
    for name, values in log_alpha(guide).items():
        summaries.append(LayerSummary(name, values.numel(), int((values >= threshold).sum()), quantiles(values)))
    return summaries


def quantiles(values: Tensor) -> tuple[float, ...]:
    """The values at :data:`QUANTILES`, to the nearest rank."""
    ordered = values.flatten().sort().values
    return tuple(ordered[round(q * (len(ordered) - 1))].item() for q in QUANTILES)


@torch.no_grad()
def site_kl(model: BayesianNetwork, guide: WeightGuide, data: tuple[Tensor, Tensor]) -> dict[str, float]:
    """KL(q‖p) of every latent site in nats, as :class:`~pyro_vd.inference.elbo.VariationalDropoutELBO` computes it.

    That of a weight site depends on nothing else; ``data`` are inputs and observations for the model to run on, the first
    of which is used.

    Raises:
        InputError: model and guide do not have the same latent sites, or a weight site has no registered KL.
    """
    elbo = VariationalDropoutELBO()
    with evaluation_mode(model, guide) as device:
        elbo.loss(model, guide, *(part[:1].to(device) for part in data))
    return {name: value.item() for name, value in elbo.site_kl.items()}


@torch.no_grad()
def mean_network(model: BayesianNetwork, guide: WeightGuide) -> nn.Module:
    """The network at the posterior mean, ordinary and without Pyro; nothing is pruned."""
    check_pair(model, guide)
    return model.plain_network({name: guide.mean(name) for name in guide.site_names})


def predictive(
    model: BayesianNetwork, guide: WeightGuide, x: Tensor, num_samples: int = 20, hold: float | None = None
) -> Tensor:
    """The mean of the Monte Carlo predictive: class probabilities ``(batch, classes)``, or E y of other observations.

    All latent sites of the model are drawn, and one draw serves all inputs; see :func:`~pyro_vd.inference.joint_draws`.

    Args:
        model: evaluated in evaluation mode; the modes of its modules are put back.
        guide: its guide.
        x: inputs ``(batch, …)``, on any device; the result is where they are.
        num_samples: draws, at least 1.
        hold: as the training had it; see :class:`~pyro_vd.inference.reparam.LocalReparameterization`.

    Raises:
        InputError: ``num_samples`` below 1; inputs that do not fit the network; model and guide that do not fit.
    """
    check_pair(model, guide)
    x, hold = check_inputs("x", x, model), check_hold(hold, guide)
    num_samples = check_number("num_samples", num_samples, low=1, high=LARGEST, whole=True)
    mean = mean_draws(model, guide, x, None, num_samples, lambda found, _: {"mean": expected(found)}, hold)["mean"]
    weight = next(iter(model.initial_weights.values()))
    return mean.to(x.device, x.dtype if x.is_floating_point() else weight.dtype)
