"""What a guide has learnt: log α of every weight, and how it is spread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from pyro_vd.arguments import LARGEST, check_number
from pyro_vd.checks import check_inputs
from pyro_vd.distributions import WeightPosterior
from pyro_vd.draws import ROWS, chunks, each_draw
from pyro_vd.elbo import VariationalDropoutELBO
from pyro_vd.errors import InputError
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.modes import in_evaluation_mode
from pyro_vd.objects import check_guide, check_hold, check_pair
from pyro_vd.observations import class_log_p, distribution_of, is_classes
from pyro_vd.reparam import LocalReparameterization
from pyro_vd.thresholds import DEFAULT_THRESHOLD, Threshold, check_threshold
from pyro_vd.unit_posterior import UnitPosterior

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@torch.no_grad()
def log_alpha(guide: WeightGuide) -> dict[str, Tensor]:
    """log α = log σ² − log θ² of every weight, by site, in the shape of the weight; +∞ where θ = 0.

    Where noise on units is learnt it is that of their factor z, log Var z − log (E z)², for every weight it multiplies.

    Raises:
        InputError: the guide has no noise to speak of, such as a point estimate.
    """
    check_guide(guide)
    result = {}
    for name in guide.site_names:
        q = guide.posterior(name)
        values = q.log_alpha if isinstance(q, WeightPosterior | UnitPosterior) else None
        if values is None:
            raise InputError(f"{type(guide).__name__} has no log α: its site {name!r} is a {type(q).__name__}")
        result[name] = values.detach()
    return result


def weight_log_alpha(guide: WeightGuide) -> dict[str, Tensor]:
    """log Var w − log (E w)² of every weight: :func:`log_alpha`, or where units have noise that and the weight's own together.

    Raises:
        InputError: as that.
    """
    result = log_alpha(guide)
    for name in guide.site_names:
        if isinstance(q := guide.posterior(name), UnitPosterior):
            result[name] = q.weight_log_alpha.detach()
    return result


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
    """A :class:`LayerSummary` a site; log α at or above ``threshold`` counts as pruned.

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


@contextmanager
def evaluation_mode(model: BayesianNetwork) -> Iterator[torch.device]:
    """Gives the model's device; afterwards the model's modes and Pyro's parameter store are as before."""
    with in_evaluation_mode(model), pyro.get_param_store().scope():
        yield next(iter(model.initial_weights.values())).device


@torch.no_grad()
def site_kl(model: BayesianNetwork, guide: WeightGuide, data: tuple[Tensor, Tensor]) -> dict[str, float]:
    """KL(q‖p) of every latent site in nats, as :class:`~pyro_vd.elbo.VariationalDropoutELBO` computes it.

    That of a weight site depends on nothing else; ``data`` are inputs and observations for the model to run on, the first
    of which is used.

    Raises:
        InputError: model and guide do not have the same latent sites, or a weight site has no registered KL.
    """
    elbo = VariationalDropoutELBO()
    with evaluation_mode(model) as device:
        elbo.loss(model, guide, *(part[:1].to(device) for part in data))
    return {name: value.item() for name, value in elbo.site_kl.items()}


@torch.no_grad()
def mean_network(model: BayesianNetwork, guide: WeightGuide) -> nn.Module:
    """The network at the posterior mean, ordinary and without Pyro; nothing is pruned."""
    check_pair(model, guide)
    return model.plain_network({name: guide.mean(name) for name in guide.site_names})


@torch.no_grad()
def output_draws(
    model: BayesianNetwork, guide: WeightGuide, x: Tensor, num_samples: int = 20, hold: float | None = None
) -> Tensor:
    """f(x; wₛ) for S draws wₛ ~ q, each row of each with weights of its own; all draws through ``torch.vmap``.

    Local reparameterization draws outputs instead of weights, so what a layer gives before the first noise is computed once
    for all draws, and the Monte Carlo errors of rows are independent. Only weight sites are drawn: a model with latent sites
    of its own needs :func:`~pyro_vd.sampling.joint_draws`, which draws all of them, one draw for all rows. Draw by draw only
    where an operation of the network does not allow ``torch.vmap``.

    Args:
        model: without latent sites but its weights; evaluated in evaluation mode, its own mode is put back.
        guide: its guide.
        x: inputs ``(batch, …)``, on any device.
        num_samples: S, at least 1.
        hold: as the training had it; see :class:`~pyro_vd.reparam.LocalReparameterization`.

    Returns:
        Outputs ``(S, batch, …)``, where ``x`` is.

    Raises:
        InputError: ``num_samples`` below 1.
    """
    num_samples = check_number("num_samples", num_samples, low=1, high=LARGEST, whole=True)
    with evaluation_mode(model) as device, LocalReparameterization(hold):

        def draw(count: int, part: Tensor) -> Tensor:
            return each_draw(lambda _: {"output": model.output(guide(), part)}, {"": torch.empty(count)})["output"]

        model.output(guide(), x[:1].to(device))  # registers parameters, which vmap cannot
        parts = [torch.cat([draw(count, part.to(device)) for count in chunks(num_samples)]) for part in x.split(ROWS)]
    return torch.cat(parts, 1).to(x.device)


@torch.no_grad()
def log_predictive_draws(
    model: BayesianNetwork, guide: WeightGuide, x: Tensor, num_samples: int = 20, hold: float | None = None
) -> Tensor:
    """Log class probabilities ``(S, batch, classes)`` in float64 of :func:`output_draws`, which has the same arguments.

    Raises:
        InputError: as that, or a model of numbers.
    """
    return class_log_p(output_draws(model, guide, x, num_samples, hold), model.observed)


@torch.no_grad()
def predictive(
    model: BayesianNetwork, guide: WeightGuide, x: Tensor, num_samples: int = 20, hold: float | None = None
) -> Tensor:
    """The mean of the Monte Carlo predictive: class probabilities ``(batch, classes)``, or E y of other observations.

    Arguments are those of :func:`output_draws`; the result is where ``x`` is.

    Raises:
        InputError: ``num_samples`` below 1; inputs that do not fit the network.
    """
    check_pair(model, guide)
    x, hold = check_inputs("x", x, model), check_hold(hold, guide)
    draws = output_draws(model, guide, x, num_samples, hold)
    distribution: Any = distribution_of(model.observed, draws.flatten(0, 1).double())
    each: Tensor = distribution.probs if is_classes(distribution) else distribution.mean
    mean: Tensor = each.unflatten(0, (num_samples, -1)).mean(0)
    return mean.to(x if x.is_floating_point() else draws)
