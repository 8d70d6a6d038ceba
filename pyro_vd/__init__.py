"""Sparse variational dropout for Pyro and PyTorch.

A network goes in, a Pyro model with log-uniform weight priors and a multiplicative-Gaussian guide learns which weights matter,
and a small plain PyTorch network comes out. Names are imported at first use, so that ``import pyro_vd`` is light and a pruned
network loads where Pyro is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyro_vd.arviz_data import to_inference_data
    from pyro_vd.arviz_files import read_inference_data, write_inference_data
    from pyro_vd.augmentation import RandomAffine
    from pyro_vd.compact_sizes import compact_size, surviving_units
    from pyro_vd.compaction import compact
    from pyro_vd.data import load_data
    from pyro_vd.dataset import Dataset
    from pyro_vd.distributions import MultiplicativeNormal, SharedAlphaNormal
    from pyro_vd.elbo import VariationalDropoutELBO
    from pyro_vd.errors import InputError, NonFiniteError
    from pyro_vd.export import load_pruned, save_pruned
    from pyro_vd.export_onnx import load_onnx, save_onnx
    from pyro_vd.export_torch import load_torch_export, save_torch_export
    from pyro_vd.finetune import fine_tune
    from pyro_vd.group_normal import GroupNormal
    from pyro_vd.guides import (
        BernoulliDropout,
        GaussianDropout,
        GroupVariationalDropout,
        LogNormalDropout,
        PointEstimate,
        VariationalDropout,
    )
    from pyro_vd.held_out import held_out_elpd
    from pyro_vd.inspection import inspect_layers, run_inference_data
    from pyro_vd.log_normal import LogNormalUnits, TruncatedLogNormal
    from pyro_vd.metrics import Metrics, evaluate
    from pyro_vd.models import MLP, BayesianNetwork, Bernoulli, Categorical, LeNet300, Normal, Poisson
    from pyro_vd.networks import Rescale
    from pyro_vd.posterior import log_alpha, mean_network, predictive, summarize
    from pyro_vd.prediction import Prediction, predict
    from pyro_vd.priors import LogUniform, NormalARD, NormalJeffreys
    from pyro_vd.pruning import choose_threshold, keep_masks, kept_weights, prune
    from pyro_vd.recipe import Recipe
    from pyro_vd.regression import RegressionMetrics
    from pyro_vd.reparam import LocalReparameterization
    from pyro_vd.run import train_run
    from pyro_vd.run_folder import Run, load_run
    from pyro_vd.schedules import KLWeight, LRSchedule
    from pyro_vd.sparse_runtime import sparsify_runtime
    from pyro_vd.training import FitResult, fit
    from pyro_vd.uncertainty import Detection, detection, risk_coverage
    from pyro_vd.unit_dropout import UnitDropout

__version__ = "0.1.0"

# No public name is a submodule's: importing that would put the module in the name's place.
_HOME = {
    "augmentation": ("RandomAffine",),
    "compact_sizes": ("compact_size", "surviving_units"),
    "compaction": ("compact",),
    "arviz_data": ("to_inference_data",),
    "arviz_files": ("read_inference_data", "write_inference_data"),
    "data": ("load_data",),
    "dataset": ("Dataset",),
    "distributions": ("MultiplicativeNormal", "SharedAlphaNormal"),
    "elbo": ("VariationalDropoutELBO",),
    "errors": ("InputError", "NonFiniteError"),
    "export": ("load_pruned", "save_pruned"),
    "export_onnx": ("load_onnx", "save_onnx"),
    "export_torch": ("load_torch_export", "save_torch_export"),
    "finetune": ("fine_tune",),
    "held_out": ("held_out_elpd",),
    "inspection": ("inspect_layers", "run_inference_data"),
    "group_normal": ("GroupNormal",),
    "guides": (
        "BernoulliDropout",
        "GaussianDropout",
        "GroupVariationalDropout",
        "LogNormalDropout",
        "PointEstimate",
        "Poisson",
        "VariationalDropout",
    ),
    "log_normal": ("LogNormalUnits", "TruncatedLogNormal"),
    "metrics": ("Metrics", "evaluate"),
    "models": ("MLP", "BayesianNetwork", "Bernoulli", "Categorical", "LeNet300", "Normal", "Poisson"),
    "networks": ("Rescale",),
    "posterior": ("log_alpha", "mean_network", "predictive", "summarize"),
    "prediction": ("Prediction", "predict"),
    "priors": ("LogUniform", "NormalARD", "NormalJeffreys"),
    "pruning": ("choose_threshold", "keep_masks", "kept_weights", "prune"),
    "recipe": ("Recipe",),
    "regression": ("RegressionMetrics",),
    "reparam": ("LocalReparameterization",),
    "run": ("train_run",),
    "run_folder": ("Run", "load_run"),
    "schedules": ("KLWeight", "LRSchedule"),
    "uncertainty": ("Detection", "detection", "risk_coverage"),
    "unit_dropout": ("UnitDropout",),
    "sparse_runtime": ("sparsify_runtime",),
    "training": ("FitResult", "fit"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "MLP",
    "BayesianNetwork",
    "Bernoulli",
    "BernoulliDropout",
    "Categorical",
    "Dataset",
    "Detection",
    "FitResult",
    "GaussianDropout",
    "GroupNormal",
    "GroupVariationalDropout",
    "InputError",
    "KLWeight",
    "LRSchedule",
    "LeNet300",
    "LocalReparameterization",
    "LogNormalDropout",
    "LogNormalUnits",
    "LogUniform",
    "Metrics",
    "MultiplicativeNormal",
    "NonFiniteError",
    "Normal",
    "NormalARD",
    "NormalJeffreys",
    "PointEstimate",
    "Poisson",
    "Prediction",
    "RandomAffine",
    "Recipe",
    "RegressionMetrics",
    "Rescale",
    "Run",
    "SharedAlphaNormal",
    "TruncatedLogNormal",
    "UnitDropout",
    "VariationalDropout",
    "VariationalDropoutELBO",
    "choose_threshold",
    "compact",
    "compact_size",
    "detection",
    "evaluate",
    "fine_tune",
    "fit",
    "held_out_elpd",
    "inspect_layers",
    "keep_masks",
    "kept_weights",
    "load_data",
    "load_onnx",
    "load_pruned",
    "load_run",
    "load_torch_export",
    "log_alpha",
    "mean_network",
    "predict",
    "predictive",
    "prune",
    "read_inference_data",
    "risk_coverage",
    "run_inference_data",
    "save_onnx",
    "save_pruned",
    "save_torch_export",
    "sparsify_runtime",
    "summarize",
    "surviving_units",
    "to_inference_data",
    "train_run",
    "write_inference_data",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'pyro_vd' has no attribute {name!r}")
    return getattr(import_module(f"pyro_vd.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
