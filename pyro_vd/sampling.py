"""Joint draws of the weights and of what they predict; the network is evaluated for many draws at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_vd.draws import ROWS, Draws, chunks, each_draw, stack
from pyro_vd.elbo import VariationalDropoutELBO
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.metrics import Arrays
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.observations import is_classes
from pyro_vd.posterior import evaluation_mode
from pyro_vd.reparam import LocalReparameterization
from pyro_vd.undrawn import draw_weight

OBSERVED = "y"
"""The observed site of a :class:`~pyro_vd.models.BayesianNetwork`."""


@torch.no_grad()
def joint_draws(
    model: BayesianNetwork,
    guide: WeightGuide,
    data: Arrays,
    num_samples: int,
    keep: Callable[[Draws], Draws],
    hold: float | None = None,
) -> tuple[Draws, Draws]:
    """Draw every latent site of the guide S times, and score and predict the data with each draw, in evaluation mode.

    One draw serves all examples, unlike local reparameterization, so that draws of weights and of predictions belong
    together. The guide is run once a draw; the network, which is what takes time, through ``torch.vmap``, and draw by draw
    only where an operation in it does not allow that.

    Args:
        data: inputs and observations, on any device.
        num_samples: S.
        keep: what to keep of some draws of the latent sites; all the weights of all draws may not fit into memory.
        hold: as the training had it; see :class:`~pyro_vd.reparam.LocalReparameterization`.

    Returns:
        What ``keep`` has kept, and ``log_likelihood`` ``(S, n)``, ``sample`` ``(S, n, …)`` of the observed site, and for a
        categorical one ``probability`` ``(S, n, classes)``, for any other ``mean`` ``(S, n, …)``; all on the CPU.

    Raises:
        InputError: model and guide do not have the same latent sites.
    """
    latents: list[Draws] = []
    observations: list[Draws] = []
    with evaluation_mode(model) as device, pyro.validation_enabled(False):
        x, y = (part.to(device) for part in data)
        VariationalDropoutELBO().loss(model, guide, x[:1], y[:1])  # checks the sites; registers parameters, which vmap cannot
        for count in chunks(num_samples):
            drawn = stack([_run_guide(guide, x, y, hold) for _ in range(count)])
            latents.append({name: value.cpu() for name, value in keep(drawn).items()})
            parts = zip(x.split(ROWS), y.split(ROWS), strict=True)
            observations.append(_join([_observe(model, drawn, *part) for part in parts], 1))
    return _join(latents, 0), _join(observations, 0)


def _run_guide(guide: WeightGuide, x: Tensor, y: Tensor, hold: float | None) -> Draws:
    with LocalReparameterization(hold):
        trace = poutine.trace(guide).get_trace(x, y)
    sites = {name: trace.nodes[name] for name in trace.stochastic_nodes}
    return {name: draw_weight(site["value"]) for name, site in sites.items() if not site_is_subsample(site)}


def _observe(model: BayesianNetwork, latents: Draws, x: Tensor, y: Tensor) -> Draws:
    """Log likelihood, sample and class probabilities, or mean, of the observed site for each draw of the latent sites."""

    def of_one(values: Draws) -> Draws:
        trace = poutine.trace(poutine.condition(model, data=values)).get_trace(x, y)
        observation: Any = trace.nodes[OBSERVED]["fn"]
        found = {"log_likelihood": observation.log_prob(y), "sample": observation.sample()}
        if is_classes(observation):
            found["probability"] = observation.probs
        else:
            found["mean"] = observation.mean
        return {name: value.cpu() for name, value in found.items()}

    return each_draw(of_one, latents)


def _join(parts: list[Draws], dim: int) -> Draws:
    return {name: torch.cat([part[name] for part in parts], dim) for name in parts[0]}
