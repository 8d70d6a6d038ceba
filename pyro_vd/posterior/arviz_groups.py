"""The groups and attributes of ArviZ data as xarray datasets; names of dimensions and coordinates are unique per layer."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from pyro_vd import __version__
from pyro_vd._core.errors import InputError
from pyro_vd.data.dataset import Dataset
from pyro_vd.distributions.weight_posterior import WeightPosterior
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.guides.alpha import has_log_alpha, log_alpha
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.pruning.rule import Rule, pruning_masks, rule_of

Labels = Mapping[str, Sequence[str]]
"""Coordinates, by dimension."""

Entries = dict[str, Tensor | None]
"""The indices ``(k, ndim)`` of the chosen weights, by weight site; None for a whole layer."""


def dataset(variables: Mapping[str, tuple[Any, Sequence[str]]], coords: Labels | None = None) -> xr.Dataset:
    """Return a dataset of arrays.

    Args:
        variables: by name, each array with the names of its first dimensions; further dimensions get the names
            ``<variable>_dim_<k>``.
        coords: coordinates by dimension; the coordinates of other dimensions, and of those of another size, count from 0.

    Raises:
        InputError: a name contains ``/``, which NetCDF and DataTree do not allow.
    """
    arrays = {}
    for name, (value, dims) in variables.items():
        if "/" in name:
            message = f"site {name!r} must have another name: NetCDF does not allow / in the name of a variable"
            raise InputError(message, name=name, value=name, allowed="a name without /")
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        arrays[name] = xr.Variable([*dims, *(f"{name}_dim_{k}" for k in range(array.ndim - len(dims)))], array)
    made = xr.Dataset(arrays)
    fitting = {dim: names for dim, names in (coords or {}).items() if len(names) == made.sizes.get(dim)}
    return made.assign_coords({dim: fitting.get(str(dim), np.arange(size)) for dim, size in made.sizes.items()})


def draws(variables: Mapping[str, tuple[Tensor, Sequence[str]]], coords: Labels | None = None) -> xr.Dataset:
    """Return a dataset of draws as one chain; the first dimension of each tensor is the draw.

    Args:
        variables: by name, each tensor with the names of its first dimensions after the draw.
        coords: see :func:`dataset`.

    Raises:
        InputError: see :func:`dataset`.
    """
    return dataset({name: (value[None], ["chain", "draw", *dims]) for name, (value, dims) in variables.items()}, coords)


def names_of(model: BayesianNetwork, data: Dataset | None) -> Labels:
    """Return the coordinates that the names of a data set give: of its inputs, of the first layer's, and of classes."""
    labels: dict[str, Sequence[str]] = {}
    if data is not None and data.classes is not None:
        labels["class"] = list(data.classes)
    if data is not None and data.features is not None:
        labels["x_dim_0"] = list(data.features)
        labels[f"{_layer(next(iter(model.initial_weights)))}in"] = list(data.features)
    return labels


def posterior(model: BayesianNetwork, latents: Draws, entries: Entries, labels: Labels) -> xr.Dataset:
    """Return the group of draws of the chosen weights, and of all other latent sites.

    Args:
        model: the Bayesian network.
        latents: draws by site, ``(draws, …)``.
        entries: the chosen weights, of which ``latents`` has the draws.
        labels: names that some indices have, by dimension; see :func:`names_of`.

    Raises:
        InputError: see :func:`dataset`.
    """
    variables: dict[str, tuple[Tensor, Sequence[str]]] = {}
    coords = dict(labels)
    for name, value in latents.items():
        indices = entries.get(name)
        dims = _axes(model, name) if name in entries else []
        if indices is not None:
            shape = model.initial_weights[name].shape
            named = [labels[dim] if len(labels.get(dim, ())) == size else None for dim, size in zip(dims, shape, strict=True)]
            dims = [f"{_layer(name)}entry"]
            coords[dims[0]] = [", ".join(map(str, _named(index, named))) for index in indices.tolist()]
        variables[name] = value, dims
    return draws(variables, coords)


def variational_parameters(guide: WeightGuide, rule: Rule, labels: Labels) -> xr.Dataset:
    """Return the group of θ, log σ², log α and the mask of the weights that a rule keeps, by site, and of plain parameters.

    A guide without log α has θ, and the mask of the weights that are left where some have been removed.

    Args:
        guide: a trained guide.
        rule: which weights count as pruned; see :func:`~pyro_vd.prune`.
        labels: see :func:`posterior`.

    Raises:
        InputError: see :func:`~pyro_vd.pruning.pruning_masks` and :func:`dataset`.
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
    made = dataset(variables | plain, labels)
    return made.assign_attrs(threshold=rule.threshold) if known else made


def training_history(history: Sequence[EpochRecord]) -> xr.Dataset:
    """Return the group with one record per epoch and the coordinates ``phase`` and ``epoch``; NaN where nothing was measured.

    Raises:
        InputError: ``history`` is not a sequence of records.
    """
    if not isinstance(history, Sequence) or not all(isinstance(record, EpochRecord) for record in history):
        raise InputError(name="history", value=history, allowed="a sequence of records, such as FitResult.history")
    rows = [asdict(record) for record in history]
    columns = {key: [np.nan if row[key] is None else row[key] for row in rows] for row in rows[:1] for key in row}
    made = dataset({key: (values, ["record"]) for key, values in columns.items()})
    return made.set_coords([name for name in ("phase", "epoch") if name in made])


def provenance(seed: int) -> dict[str, str | int]:
    """Return attributes about the software that made the data, with ArviZ's names where it has them."""
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


def _named(index: Sequence[int], named: Sequence[Sequence[str] | None]) -> list[int | str]:
    """Return the indices of a weight, with names in the place of those that have one."""
    return [place if names is None else names[place] for place, names in zip(index, named, strict=True)]


def _layer(name: str) -> str:
    """Return the first part of the names of a weight's dimensions, its layer: ``1.`` for ``1.weight``."""
    return name.removesuffix("weight") if name.endswith("weight") else f"{name}."


def _axes(model: BayesianNetwork, name: str) -> list[str]:
    return [f"{_layer(name)}{axis}" for axis in model.weight_axes(name)]
