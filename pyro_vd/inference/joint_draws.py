"""Joint draws of all latent sites, and the model's predictions with each draw, for all functions that predict."""

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
from pyro_vd._core.threads import alone
from pyro_vd.evaluation.draws import Draws, each_draw, join, stack
from pyro_vd.evaluation.memory import draws_at_once
from pyro_vd.evaluation.predictors import Observe
from pyro_vd.evaluation.scores import expected
from pyro_vd.evaluation.structured import heads_of
from pyro_vd.inference.handlers import trace_of
from pyro_vd.inference.lazy_weight import draw_weight
from pyro_vd.inference.reparam import LocalReparameterization
from pyro_vd.networks.inputs import Inputs, num_examples, rows, to_device
from pyro_vd.networks.markers import GuideMarker
from pyro_vd.networks.modes import in_evaluation_mode

OBSERVED = "y"
"""The observed site of a :class:`~pyro_vd.models.BayesianNetwork`."""


@contextmanager
def evaluation_mode(guide: GuideMarker) -> Iterator[torch.device]:
    """Set a guide and its model to evaluation mode, and yield the device; their modes and Pyro's parameter store are restored.

    Effect handlers around the call do not apply inside: a mask or a scale of log p must not change predictions. Entries of the
    parameter store with the name of a parameter of model or guide are hidden, because they may belong to another model.
    """
    model, store = guide.model, pyro.get_param_store()
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
    guide: GuideMarker,
    x: Inputs,
    y: Any,
    num_samples: int,
    observe: Observe,
    take: Callable[[Draws, Draws], None],
) -> None:
    """Draw all latent sites of the guide S times, and evaluate the model on all examples with each draw, in evaluation mode.

    All examples share each draw, so the Monte Carlo errors of different examples are not independent. Unlike in training, the
    weights themselves are drawn: local reparameterization draws independent noise for each position of the output, which
    averages out where positions are pooled. The guide runs once per draw. The model, which takes most of the time, runs for as
    many draws and examples at a time as :mod:`~pyro_vd.evaluation.memory` allows.

    Args:
        guide: draws all latent sites of its model; a site inside the plate of the examples has one value per example. The model
            has an observed site ``y``, and may have latent sites beside the weights and its own ``forward``.
        x: n inputs in any form, on any device.
        y: observations ``(n, …)``; None if they are not known.
        num_samples: S, at least 1.
        observe: maps the distribution of ``y`` and the observations to the tensors to keep; runs under ``torch.vmap``.
        take: called several times, each with some draws of the latent sites by name, and with the tensors of ``observe`` for
            these draws, ``(draws, n, …)``: all draws of all weights may not fit into memory.

    Raises:
        InputError: ``num_samples`` is below 1; model and guide do not have the same latent sites; the model has no site ``y``.
    """
    num_samples = check_number("num_samples", num_samples, low=1, whole=True)
    model = guide.model
    with evaluation_mode(guide) as device, pyro.validation_enabled(False):
        x, y, n = to_device(x, device), to_device(y, device), num_examples(x)

        def observed(latents: Draws, chosen: slice) -> Draws:
            some, part = rows(x, chosen), rows(y, chosen)
            return each_draw(lambda values: observe(_Conditioned(values, chosen, n).run(model, some, part), part), latents)

        def first_rows(k: int) -> list[Tensor]:  # also registers parameters, which is not possible under vmap
            found = _Conditioned(first, slice(k), n).run(model, rows(x, slice(k)), rows(y, slice(k)))
            return [expected(head) for head in heads_of(found).values()]

        first = _run_guide(guide, x, y)
        draws, size = draws_at_once(first_rows, n, device, sum(value.nbytes for value in first.values()))
        first.clear()  # it is as large as the network
        for done in range(0, num_samples, draws):
            latents = stack([_run_guide(guide, x, y) for _ in range(min(draws, num_samples - done))])
            parts = [observed(latents, slice(start, start + size)) for start in range(0, n, size)]
            take(latents, join(parts, 1))


def _run_guide(guide: nn.Module, x: Inputs, y: Any) -> Draws:
    """Return one draw of every latent site by name, without the guide's auxiliary sites, which the model does not have."""
    with LocalReparameterization():
        trace = trace_of(guide, x, y)
    sites = {name: trace.nodes[name] for name in trace.stochastic_nodes}
    return {
        name: draw_weight(site["value"])
        for name, site in sites.items()
        if not site_is_subsample(site) and not site["infer"].get("is_auxiliary")
    }


class _Conditioned(Messenger):
    """Effect handler that sets each latent site of the model to its drawn value, and keeps the observed site's distribution.

    Args:
        latents: one draw of the latent sites by name.
        rows: the examples that the model runs on; of sites with one value per example, these values are used.
        n: the number of all examples.
    """

    def __init__(self, latents: Draws, rows: slice, n: int) -> None:
        super().__init__()
        self._latents, self._rows, self._n = latents, rows, n
        self._unused = set(latents)
        self._found: Distribution | None = None

    def run(self, model: nn.Module, x: Inputs, y: Any) -> Distribution:
        """Run the model on these examples, and return the distribution of the observed site."""
        with self:
            model(x, y)
        if self._unused:
            raise InputError(
                f"model and guide do not fit: only the guide has the latent sites {sorted(self._unused)}; "
                "both must have the same",
                name=min(self._unused),
                value={"model": [], "guide": sorted(self._unused)},
            )
        if self._found is None:
            raise InputError(f"the model has no sample site {OBSERVED!r}; its observed site must have this name", name=OBSERVED)
        return self._found

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name == OBSERVED:
            self._found = msg["fn"]
            if msg["value"] is None:  # not observed: nothing depends on its value, so none is drawn
                msg["value"] = torch.zeros(msg["fn"].batch_shape + msg["fn"].event_shape)
            msg["done"] = True
        elif name in self._latents:
            self._unused.discard(name)
            msg["value"], msg["done"], msg["is_observed"] = self._of_rows(self._latents[name], msg), True, True
        elif not msg["is_observed"] and not site_is_subsample(msg):
            raise InputError(
                f"model and guide do not fit: only the model has the latent sites {[name]}; both must have the same",
                name=name,
                value={"model": [name], "guide": []},
            )

    def _of_rows(self, value: Tensor, msg: Any) -> Tensor:
        for plate in msg["cond_indep_stack"]:
            dim = plate.dim - msg["fn"].event_dim if plate.vectorized else 0
            if 0 < -dim <= value.ndim and value.shape[dim] not in (1, plate.size):  # of more rows than the model's
                if value.shape[dim] != self._n:
                    raise InputError(
                        f"site {msg['name']!r}: the guide has drawn {value.shape[dim]} values in the plate {plate.name!r} of "
                        f"{self._n} examples; it must draw one value per example",
                        name=msg["name"],
                        value=value.shape[dim],
                        allowed=f"{self._n} values",
                    )
                value = value.movedim(dim, 0)[self._rows].movedim(0, dim)
        return value
