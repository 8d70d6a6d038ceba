"""Joint draws of all latent sites, and what the model predicts with them: what every predictive function is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.params.param_store import normalize_param_name
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vd._core.arguments import check_number
from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.draws import Draws, each_draw, join, stack
from pyro_vd.evaluation.memory import draws_at_once
from pyro_vd.evaluation.predictors import Observe
from pyro_vd.evaluation.scores import expected
from pyro_vd.inference.handlers import trace_of
from pyro_vd.inference.lazy_weight import draw_weight
from pyro_vd.inference.reparam import LocalReparameterization
from pyro_vd.networks.modes import alone, in_evaluation_mode

OBSERVED = "y"
"""The observed site of a :class:`~pyro_vd.models.BayesianNetwork`."""


@contextmanager
def evaluation_mode(model: nn.Module, guide: nn.Module) -> Iterator[torch.device]:
    """Gives the model's device; afterwards the modes of both and Pyro's parameter store are as before.

    Effect handlers round it do not reach what is evaluated: a mask or a scale of log p has nothing to do with predictions.
    What the store holds under the name of one of their parameters may be another model's, so it is put aside.
    """
    store = pyro.get_param_store()
    own = {name.removesuffix("_unconstrained") for module in (model, guide) for name, _ in module.named_parameters()}
    with alone(), poutine.block():
        state: Any = store.get_state()
        others: Any = {
            part: {name: value for name, value in kept.items() if normalize_param_name(name) not in own}
            for part, kept in state.items()
        }
        with in_evaluation_mode(model), in_evaluation_mode(guide), store.scope(others):
            yield next(guide.parameters()).device


@torch.no_grad()
def joint_draws(
    model: nn.Module,
    guide: nn.Module,
    x: Tensor,
    y: Tensor | None,
    num_samples: int,
    observe: Observe,
    take: Callable[[Draws, Draws], None],
) -> None:
    """Draw every latent site of the guide S times, and observe all examples with each draw, in evaluation mode.

    One draw serves all examples, so the Monte Carlo errors of examples are not independent. Weights are drawn whole, unlike in
    training: an output drawn by local reparameterization has noise of its own at every position that the weight serves, which
    averages away where positions are pooled. The guide is run once per draw; the model, which is what takes time, for as many
    draws and examples at a time as :mod:`~pyro_vd.evaluation.memory` allows.

    Args:
        model: has an observed site ``y``; further latent sites and a ``forward`` of its own are allowed.
        guide: draws the same latent sites; one inside the plate of the examples has a value for each of them.
        x: inputs ``(n, …)``, on any device.
        y: observations ``(n, …)``; None where they are not known.
        num_samples: S, at least 1.
        observe: what to take of each draw; run under ``torch.vmap``.
        take: is given some draws of the latent sites, by name, and what was observed with them, ``(draws, n, …)``: all draws
            of all weights may not fit into memory.

    Raises:
        InputError: ``num_samples`` below 1; model and guide do not have the same latent sites, or the model has no site ``y``.
    """
    num_samples = check_number("num_samples", num_samples, low=1, whole=True)
    with evaluation_mode(model, guide) as device, pyro.validation_enabled(False):
        x, y = x.to(device), None if y is None else y.to(device)

        def observed(latents: Draws, rows: slice) -> Draws:
            part = None if y is None else y[rows]
            return each_draw(
                lambda values: observe(_Conditioned(values, rows, len(x)).run(model, x[rows], part), part), latents
            )

        def first_rows(k: int) -> Tensor:  # registers parameters as well, which vmap cannot
            return expected(_Conditioned(first, slice(k), len(x)).run(model, x[:k], None if y is None else y[:k]))

        first = _run_guide(guide, x, y)
        draws, rows = draws_at_once(first_rows, len(x), device, sum(value.nbytes for value in first.values()))
        for done in range(0, num_samples, draws):
            latents = stack([_run_guide(guide, x, y) for _ in range(min(draws, num_samples - done))])
            parts = [observed(latents, slice(start, start + rows)) for start in range(0, len(x), rows)]
            take(latents, join(parts, 1))


def _run_guide(guide: nn.Module, x: Tensor, y: Tensor | None) -> Draws:
    """A draw of every latent site; one that a guide draws on the way to another is none of the model's."""
    with LocalReparameterization():
        trace = trace_of(guide, x, y)
    sites = {name: trace.nodes[name] for name in trace.stochastic_nodes}
    return {
        name: draw_weight(site["value"])
        for name, site in sites.items()
        if not site_is_subsample(site) and not site["infer"].get("is_auxiliary")
    }


class _Conditioned(Messenger):
    """Effect handler: every latent site of the model has its drawn value, and the observed site gives its distribution.

    Args:
        latents: one draw.
        rows: which examples the model is run on: what was drawn for each example is taken for these.
        n: the number of all examples.
    """

    def __init__(self, latents: Draws, rows: slice, n: int) -> None:
        super().__init__()
        self._latents, self._rows, self._n = latents, rows, n
        self._unused = set(latents)
        self._found: Distribution | None = None

    def run(self, model: nn.Module, x: Tensor, y: Tensor | None) -> Distribution:
        """The distribution of the observed site for these examples."""
        with self:
            model(x, y)
        if self._unused:
            raise InputError(f"model and guide do not fit: only the guide has the latent sites {sorted(self._unused)}")
        if self._found is None:
            raise InputError(f"the model has no sample site {OBSERVED!r}; what it observes must have this name")
        return self._found

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name == OBSERVED:
            self._found = msg["fn"]
            if msg["value"] is None:  # not known: nothing depends on it, so it need not be drawn
                msg["value"] = torch.zeros(msg["fn"].batch_shape + msg["fn"].event_shape)
            msg["done"] = True
        elif name in self._latents:
            self._unused.discard(name)
            msg["value"], msg["done"], msg["is_observed"] = self._of_rows(self._latents[name], msg), True, True
        elif not msg["is_observed"] and not site_is_subsample(msg):
            raise InputError(
                f"model and guide do not fit: only the model has the latent sites {[name]}; both must have the same"
            )

    def _of_rows(self, value: Tensor, msg: Any) -> Tensor:
        for plate in msg["cond_indep_stack"]:
            dim = plate.dim - msg["fn"].event_dim if plate.vectorized else 0
            if 0 < -dim <= value.ndim and value.shape[dim] not in (1, plate.size):  # of all examples, the model has some
                if value.shape[dim] != self._n:
                    raise InputError(
                        f"site {msg['name']!r}: the guide has drawn {value.shape[dim]} values in the plate {plate.name!r} of "
                        f"{self._n} examples; it must draw one for each example"
                    )
                value = value.movedim(dim, 0)[self._rows].movedim(0, dim)
        return value
