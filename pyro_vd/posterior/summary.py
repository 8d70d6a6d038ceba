"""What a guide has learnt: log α of every weight, and how it is spread."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd.evaluation.scores import expected
from pyro_vd.guides.alpha import log_alpha
from pyro_vd.guides.checks import check_guide
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.inference.joint_draws import evaluation_mode
from pyro_vd.pruning.rule import Rule, pruning_masks
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD

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


def summarize(guide: WeightGuide, rule: Rule = DEFAULT_THRESHOLD) -> list[LayerSummary]:
    """Summarize log α of every weight site, and how much of it the rule prunes.

    Raises:
        InputError: as :func:`~pyro_vd.pruning.pruning_masks`.
    """
    check_guide(guide)
    masks = pruning_masks(guide, rule)
    return [
        LayerSummary(name, values.numel(), int((~masks[name]).sum()), quantiles(values))
        for name, values in log_alpha(guide).items()
    ]


def quantiles(values: Tensor) -> tuple[float, ...]:
    """The values at :data:`QUANTILES`, to the nearest rank."""
    ordered = values.flatten().sort().values
    return tuple(ordered[round(q * (len(ordered) - 1))].item() for q in QUANTILES)


@torch.no_grad()
def site_kl(guide: WeightGuide, data: tuple[Tensor, Tensor]) -> dict[str, float]:
    """KL(q‖p) of every latent site in nats, as :class:`~pyro_vd.inference.elbo.VariationalDropoutELBO` computes it.

    That of a weight site depends on nothing else; ``data`` are inputs and observations for the model to run on, the first
    of which is used.

    Raises:
        InputError: model and guide do not have the same latent sites, or a weight site has no registered KL.
    """
    elbo = VariationalDropoutELBO()
    with evaluation_mode(guide.model, guide) as device:
        elbo.loss(guide.model, guide, *(part[:1].to(device) for part in data))
    return {name: value.item() for name, value in elbo.site_kl.items()}


def predictive(guide: WeightGuide, x: Tensor, num_samples: int = 20) -> Tensor:
    """The mean of the Monte Carlo predictive: class probabilities ``(batch, classes)``, or E y of other observations.

    All latent sites of the model are drawn, and one draw serves all inputs; see :func:`~pyro_vd.inference.joint_draws`.

    Args:
        guide: a trained guide; it and its model are in evaluation mode meanwhile.
        x: inputs ``(batch, …)``, on any device; the result is where they are.
        num_samples: draws, at least 1.

    Raises:
        InputError: no guide; ``num_samples`` below 1; inputs that do not fit the network.
    """
    check_guide(guide)
    predictor = guide.predictor(check_number("num_samples", num_samples, low=1, high=LARGEST, whole=True))
    x = predictor.check_inputs("x", x)
    mean = predictor.means(x, None, lambda found, _: {"mean": expected(found)})["mean"]
    weight = next(iter(guide.model.initial_weights.values()))
    return mean.to(x.device, x.dtype if x.is_floating_point() else weight.dtype)
