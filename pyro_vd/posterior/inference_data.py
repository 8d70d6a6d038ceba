"""A trained model and its guide as ArviZ data: what was learnt, draws of it, and what it predicts."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal

import torch
from torch import Tensor

from pyro_vd import __version__
from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import did_you_mean, quoted
from pyro_vd.data.dataset import Data
from pyro_vd.evaluation.draws import Draws, join
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.evaluation.observations import is_classes
from pyro_vd.evaluation.scores import expected, log_likelihood
from pyro_vd.guides.alpha import has_log_alpha, weight_log_alpha
from pyro_vd.guides.checks import check_guide
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.joint_draws import OBSERVED, joint_draws
from pyro_vd.models.data_checks import check_data
from pyro_vd.networks.modes import alone
from pyro_vd.posterior.arviz_files import check_arviz, from_tree
from pyro_vd.pruning.rule import Rule
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD

Chosen = int | Literal["all"] | Sequence[Sequence[int]]
"""Weights of a site: so many of the largest signal |θ|/σ, all of them, or those at these indices."""


def to_inference_data(
    guide: WeightGuide,
    data: Data,
    *,
    num_samples: int = 100,
    weights: int | Literal["all"] | Mapping[str, Chosen] = 20,
    rule: Rule = DEFAULT_THRESHOLD,
    seed: int = 0,
    history: Sequence[EpochRecord] = (),
    attrs: Mapping[str, str | int | float] | None = None,
) -> Any:
    """A trained model and its guide for ArviZ: ``arviz.InferenceData`` on ArviZ 0.x, ``xarray.DataTree`` on 1.x.

    The draws are independent, so R-hat and effective sample sizes, which diagnose Markov chains, mean nothing here: ask for
    ``az.summary(..., kind="stats")``. The groups, with S draws in one chain:

    - ``posterior``: draws of chosen weights, by site, along ``<layer>.entry`` with labels ``"out, in"``, or along
      ``<layer>.out`` and ``<layer>.in`` for a whole layer; and of every other latent site of the model.
    - ``variational_parameters``, without a draw dimension: ``<site>.theta``, ``<site>.log_sigma2``, ``<site>.log_alpha`` and
      ``<site>.mask``, True for a weight that is left; and the model's plain parameters, such as biases, which have no
      posterior. Of a guide without log α, such as Bernoulli dropout, θ and the mask of weights removed from it, if any.
    - ``posterior_predictive``: sampled observations ``y``, and for classes their probabilities ``y_probability``, for others
      their means ``y_mean``.
    - ``log_likelihood``: log p(yₙ|xₙ, w) in nats, per example and draw.
    - ``observed_data`` ``y`` and ``constant_data`` ``x``: the data as given; ``training_history``: one record per epoch.

    Args:
        guide: a trained guide of any kind, with its model.
        data: inputs and observations, or a data set, of which the test data are taken; held out from training, if the model is
            to be judged or compared by them.
        num_samples: S, at least 1.
        weights: how many weights of each site are in ``posterior``, those of the largest signal |θ|/σ, or of the largest |θ|
            where the guide has no log α; a site of no more is in it whole. ``"all"`` for all. Or, by site, a number, ``"all"``
            or a list of indices; other sites are left out.
        rule: which weights count as pruned; see :func:`~pyro_vd.prune`.
        seed: of the draws. The state of torch's generators is put back.
        history: ``FitResult.history``, or several joined.
        attrs: attributes to add, such as the recipe.

    Raises:
        InputError: data that do not fit the network, an unknown site or index, a number out of range, model and guide that
            do not have the same latent sites, or one with a ``/`` in its name, which NetCDF does not allow; or the extra
            ``arviz`` is not installed.
    """
    check_arviz()
    import xarray as xr

    from pyro_vd.posterior import arviz_groups as groups

    check_guide(guide)
    model = guide.model
    data = check_data("data", data, model, part="test")
    num_samples = check_number("num_samples", num_samples, low=1, high=LARGEST, whole=True)
    seed = check_number("seed", seed, low=0, high=2**63 - 1, whole=True)
    entries = _entries(_signals(guide), weights)
    parameters = groups.variational_parameters(guide, rule)

    latents: list[Draws] = []
    observed: list[Draws] = []

    def take(drawn: Draws, found: Draws) -> None:
        chosen = {name: drawn[name] if at is None else drawn[name][(slice(None), *at.T)] for name, at in entries.items()}
        kept = chosen | {name: value for name, value in drawn.items() if name not in guide.site_names}
        latents.append({name: value.cpu() for name, value in kept.items()})
        observed.append(found)

    with alone(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        joint_draws(model, guide, data[0], data[1], num_samples, _observe, take)
    found = join(observed, 0)
    predictions: dict[str, tuple[Tensor, Sequence[str]]] = {OBSERVED: (found["sample"], ["example"])}
    if "probability" in found:
        predictions[f"{OBSERVED}_probability"] = found["probability"], ["example", "class"]
    else:
        predictions[f"{OBSERVED}_mean"] = found["mean"], ["example"]
    made = {
        "posterior": groups.posterior(model, join(latents, 0), entries),
        "variational_parameters": parameters,
        "posterior_predictive": groups.draws(predictions),
        "log_likelihood": groups.draws({OBSERVED: (found["log_likelihood"], ["example"])}),
        "observed_data": groups.dataset({OBSERVED: (data[1], ["example"])}),
        "constant_data": groups.dataset({"x": (data[0], ["example"])}),
        "training_history": groups.training_history(history),
    }
    root = {"/": xr.Dataset(attrs={**_provenance(seed), **(attrs or {})})}
    return from_tree(xr.DataTree.from_dict(root | {name: group for name, group in made.items() if group.data_vars}))


def _observe(distribution: Any, y: Tensor) -> Draws:
    """Log likelihood, sample and class probabilities, or mean, of each example."""
    expectation = "probability" if is_classes(distribution) else "mean"
    found = {
        "log_likelihood": log_likelihood(distribution, y),
        "sample": distribution.sample(),
        expectation: expected(distribution),
    }
    return {name: value.cpu() for name, value in found.items()}


@torch.no_grad()
def _signals(guide: WeightGuide) -> dict[str, Tensor]:
    """What says which weights of a site matter, large for those that do: −log α, or |θ| where there is none."""
    if has_log_alpha(guide):
        return {name: -values for name, values in weight_log_alpha(guide).items()}
    return {name: guide.mean(name).abs() for name in guide.site_names}


def _entries(signals: Mapping[str, Tensor], weights: Chosen | Mapping[str, Chosen]) -> dict[str, Tensor | None]:
    """The indices of the chosen weights, ``(k, ndim)``, by site; None for a whole layer.

    Raises:
        InputError: an unknown site, or no such weight.
    """
    by_site = weights if isinstance(weights, Mapping) else dict.fromkeys(signals, weights)
    if unknown := sorted(set(by_site) - set(signals)):
        raise InputError(
            f"weights (={quoted(unknown)}) must name weight sites: {', '.join(signals)}{did_you_mean(unknown[0], signals)}"
        )
    entries: dict[str, Tensor | None] = {}
    for name, chosen in by_site.items():
        values = signals[name]
        if isinstance(chosen, int):
            check_number("weights", chosen, low=0, high=LARGEST, whole=True)
        if chosen == "all" or (isinstance(chosen, int) and chosen >= values.numel()):
            entries[name] = None
        elif isinstance(chosen, int):
            if chosen:
                order = values.flatten().topk(chosen).indices
                entries[name] = torch.stack(torch.unravel_index(order, values.shape), 1)
        else:
            entries[name] = _indices(name, chosen, values)
    return entries


def _indices(name: str, chosen: str | Sequence[Sequence[int]], values: Tensor) -> Tensor:
    try:
        indices = torch.tensor(chosen, device=values.device)
        if indices.shape[1:] != (values.ndim,) or indices.is_floating_point() or (indices < 0).any():
            raise IndexError(chosen)
        values[tuple(indices.T)]
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise InputError(
            f"weights of {name!r} (={quoted(chosen)}) must be a number, 'all', or a list of indices into {tuple(values.shape)}"
        ) from error
    return indices


def _provenance(seed: int) -> dict[str, str | int]:
    """What made the data, in ArviZ's own words where it has them."""
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "creation_library": "pyro_vd",
        "creation_library_version": __version__,
        "creation_library_language": "Python",
        "inference_library": "pyro-ppl",
        "inference_library_version": version("pyro-ppl"),
        "arviz_version": version("arviz"),
        "torch_version": version("torch"),
        "python_version": platform.python_version(),
        "seed": seed,
    }
