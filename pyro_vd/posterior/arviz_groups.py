"""The groups of ArviZ data as xarray datasets, their dimensions and coordinates with names that are unique per layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.distributions.weight_posterior import WeightPosterior
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.guides.alpha import has_log_alpha, log_alpha
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.pruning.rule import Rule, pruning_masks, rule_of

Labels = Mapping[str, Sequence[str]]
"""Coordinates by dimension."""

Entries = dict[str, Tensor | None]
"""By weight site, the indices ``(k, ndim)`` of the weights chosen; None for a whole layer."""


def dataset(variables: Mapping[str, tuple[Any, Sequence[str]]], coords: Labels | None = None) -> xr.Dataset:
    """A dataset of arrays with the names of their first dimensions; the others are called ``<variable>_dim_<k>``.

    Coordinates count from 0 where ``coords`` gives none.

    Raises:
        InputError: a name with a ``/``, which NetCDF and DataTree do not allow.
    """
    arrays = {}
    for name, (value, dims) in variables.items():
        if "/" in name:
            raise InputError(f"site {name!r}: NetCDF allows no / in the name of a variable; rename the site")
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        arrays[name] = xr.Variable([*dims, *(f"{name}_dim_{k}" for k in range(array.ndim - len(dims)))], array)
    made = xr.Dataset(arrays)
    return made.assign_coords({dim: (coords or {}).get(str(dim), np.arange(size)) for dim, size in made.sizes.items()})


def draws(variables: Mapping[str, tuple[Tensor, Sequence[str]]], coords: Labels | None = None) -> xr.Dataset:
    """A dataset of draws, which are in the first dimension: one chain of them."""
    return dataset({name: (value[None], ["chain", "draw", *dims]) for name, (value, dims) in variables.items()}, coords)


def posterior(model: BayesianNetwork, latents: Draws, entries: Entries) -> xr.Dataset:
    """Draws of the chosen weights, and of all other latent sites."""
    variables: dict[str, tuple[Tensor, Sequence[str]]] = {}
    coords = {}
    for name, value in latents.items():
        indices = entries.get(name)
        dims = _axes(model, name) if name in entries else []
        if indices is not None:
            dims = [f"{_layer(name)}entry"]
            coords[dims[0]] = [", ".join(map(str, index)) for index in indices.tolist()]
        variables[name] = value, dims
    return draws(variables, coords)


def variational_parameters(guide: WeightGuide, rule: Rule) -> xr.Dataset:
    """θ, log σ², log α and the mask of what this rule leaves, by weight site; and the model's plain parameters.

    Of a guide without log α, θ and the mask of weights removed from it, if any.
    """
    known, model, rule = has_log_alpha(guide), guide.model, rule_of(rule)
    log_alphas = log_alpha(guide) if known else {}
    masks = pruning_masks(guide, rule) if known else {name: guide.mask(name) for name in guide.site_names}
    variables: dict[str, tuple[Tensor, Sequence[str]]] = {}
    for name in guide.site_names:
        q = guide.posterior(name)
        found = {"theta": guide.mean(name), "log_alpha": log_alphas.get(name), "mask": masks[name]}
        if isinstance(q, WeightPosterior):  # noise on units has no variance per weight
            found["log_sigma2"] = q.log_sigma2
        for kind, value in found.items():
            if value is not None:
                variables[f"{name}.{kind}"] = value, _axes(model, name)
    plain: dict[str, tuple[Tensor, Sequence[str]]] = {
        name.removeprefix("net."): (value, []) for name, value in model.named_parameters()
    }
    made = dataset(variables | plain)
    return made.assign_attrs(threshold=rule.threshold) if known else made


def training_history(history: Sequence[EpochRecord]) -> xr.Dataset:
    """One record per epoch, with the coordinates ``phase`` and ``epoch``; NaN where there was nothing to measure."""
    if not isinstance(history, Sequence) or not all(isinstance(record, EpochRecord) for record in history):
        raise InputError(name="history", value=history, allowed="a sequence of records, as FitResult.history is")
    rows = [asdict(record) for record in history]
    columns = {key: [np.nan if row[key] is None else row[key] for row in rows] for row in rows[:1] for key in row}
    made = dataset({key: (values, ["record"]) for key, values in columns.items()})
    return made.set_coords([name for name in ("phase", "epoch") if name in made])


def _layer(name: str) -> str:
    """What the names of a weight's dimensions begin with: its layer, ``1.`` for ``1.weight``."""
    return name.removesuffix("weight") if name.endswith("weight") else f"{name}."


def _axes(model: BayesianNetwork, name: str) -> list[str]:
    return [f"{_layer(name)}{axis}" for axis in model.weight_axes(name)]
