"""Public functions, their arguments, and values of wrong types for each argument."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

import pyro_vd
from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    KLWeight,
    PruningRule,
    VariationalDropout,
    VariationalDropoutELBO,
    choose_threshold,
    evaluate,
    fine_tune,
    fit,
    load_onnx,
    load_pruned,
    load_run,
    log_alpha,
    posterior_mean,
    predict,
    prune,
    save_onnx,
    save_pruned,
    to_inference_data,
)
from pyro_vd.data import RandomAffine
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.export import load_torch_export, save_torch_export
from pyro_vd.guides import BernoulliDropout, GaussianDropout, LogNormalDropout, PointEstimate
from pyro_vd.models import Normal
from pyro_vd.posterior import predictive, read_inference_data, summarize, write_inference_data
from pyro_vd.pruning import pruning_masks, threshold_masks
from pyro_vd.runtime import sparsify_runtime
from pyro_vd.training import EarlyStopping, LRSchedule

X, Y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
DATA = X, Y
NET = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
MODEL = BayesianNetwork(NET)
GUIDE = VariationalDropout(MODEL)
JEFFREYS = BayesianNetwork(NET, prior=NormalJeffreys)
STRING, TUPLE, TENSOR, FLAG = "3", (0, 1), torch.zeros(2), True
NUMBERS = (STRING, TUPLE, TENSOR, FLAG, np.True_, torch.tensor(True), np.array([1.0, 2.0]), 1j, None)
WHOLE = (*NUMBERS, 1.5, np.float32(1.5))
FLAGS = (STRING, TUPLE, TENSOR, None, 1, 0.0)
FUNCTIONS = (STRING, TUPLE, FLAG, 3)
PATHS = (TUPLE, TENSOR, FLAG, 3, None, b"bytes", "")
CHOICES = (TUPLE, TENSOR, FLAG, None, 3, "nosuch")
OBJECTS = (STRING, TUPLE, TENSOR, FLAG, None, 3, nn.Linear)
LISTS = (STRING, 3, FLAG, (0.5, 1.5), ("a", "b"), {"a": 1})
EXAMPLES = (STRING, FLAG, None, 3, (X,), (X, Y, Y), {"x": X, "y": Y}, ([["a"]], Y), (X, object()), ([[1.0], [1.0, 2.0]], Y))
OPTIONAL = {
    "lr_schedule", "train_threshold", "max_inputs", "validation", "device", "checkpoint", "spec", "augment", "batch_size",
    "guide", "likelihood", "lr", "max_grad_norm", "num_examples", "steps_per_epoch",
    "net", "info", "scale", "masks", "data_dir",
}  # fmt: skip
"""For which None is a value."""


def call(function: Callable[..., Any], **given: Any) -> Callable[[str, Any], object]:
    return lambda name, value: function(**{**given, name: value})


PAIR: dict[str, Any] = {"guide": GUIDE}
FIT = {
    "guide": OBJECTS, "train": EXAMPLES, "validation": EXAMPLES, "epochs": WHOLE, "batch_size": WHOLE,
    "lr": NUMBERS, "lr_schedule": OBJECTS, "kl_weight": NUMBERS, "kl_weights": (STRING, 3, FLAG, None),
    "num_examples": WHOLE, "steps_per_epoch": WHOLE, "target": (TUPLE, FLAG, 3, TENSOR),
    "train_threshold": NUMBERS, "weight_decay": NUMBERS,
    "num_particles": WHOLE, "augment": FUNCTIONS, "rule": NUMBERS, "device": (TUPLE, FLAG, "nosuch", 1.5),
    "checkpoint": PATHS, "resume": FLAGS, "spec": OBJECTS, "phase": (TUPLE, FLAG, None, 3), "progress": FLAGS,
    "callbacks": (*OBJECTS, (0, 1), [FUNCTIONS]), "noise": CHOICES, "accumulate": WHOLE, "max_grad_norm": NUMBERS,
    "restore_best": FLAGS, "shrink": FLAGS, "compile": FLAGS, "precision": CHOICES,
    "optimizer": (*FUNCTIONS, nn.Linear), "scheduler": FUNCTIONS, "scheduler_interval": CHOICES,
}  # fmt: skip
TABLE: dict[str, tuple[Callable[[str, Any], object], dict[str, tuple[Any, ...]]]] = {
    "fit": (call(fit, **PAIR, train=DATA, epochs=1, progress=False), FIT),
    "fine_tune": (
        call(fine_tune, net=NET, train=DATA, epochs=1, progress=False),
        {"net": (*OBJECTS[:-1], MODEL), "likelihood": (STRING, TUPLE, Normal)}
        | {name: values for name, values in FIT.items() if name not in ("guide", "train_threshold")},
    ),
    "prune": (call(prune, **PAIR), {"guide": OBJECTS, "rule": NUMBERS}),
    "pruning_masks": (call(pruning_masks, **PAIR), {"guide": OBJECTS, "rule": NUMBERS}),
    "PruningRule": (
        call(PruningRule),
        {"threshold": NUMBERS, "max_inputs": (STRING, 3, FLAG, (0.5, 1.5), ("a", "b")), "thresholds": (STRING, 3, FLAG, None)},
    ),
    "threshold_masks": (call(threshold_masks, log_alphas=log_alpha(GUIDE)), {"threshold": NUMBERS}),
    "choose_threshold": (
        call(choose_threshold, **PAIR, validation=DATA),
        {"guide": OBJECTS, "validation": (*EXAMPLES, pyro_vd.load_data("digits")), "max_error_rise": NUMBERS}
        | {"candidates": (STRING, 3, None, ("a", "b"), {1: 2})},
    ),
    "evaluate a network": (
        call(evaluate, net=NET, data=DATA),
        {"net": OBJECTS, "data": EXAMPLES, "num_samples": WHOLE, "likelihood": (STRING, TUPLE, Normal)},
    ),
    "evaluate": (call(evaluate, net=GUIDE, data=DATA), {"num_samples": WHOLE, "likelihood": (STRING, Normal(), max)}),
    "predict": (
        call(predict, net=GUIDE, x=X),
        {"net": OBJECTS, "x": (STRING, FLAG, None, 3, [["a"]]), "num_samples": WHOLE},
    ),
    "predictive": (call(predictive, **PAIR, x=X), {"guide": OBJECTS, "num_samples": WHOLE}),
    "summarize": (call(summarize, guide=GUIDE), {"guide": OBJECTS, "rule": NUMBERS}),
    "log_alpha": (call(log_alpha), {"guide": OBJECTS}),
    "posterior_mean": (call(posterior_mean, **PAIR), {"guide": OBJECTS}),
    "to_inference_data": (
        call(to_inference_data, **PAIR, data=DATA, num_samples=2),
        {"guide": OBJECTS, "data": EXAMPLES, "num_samples": WHOLE, "rule": NUMBERS}
        | {"seed": WHOLE, "weights": (STRING, FLAG, None, 1.5), "history": (STRING, 3, (1, 2))},
    ),
    "KLWeight": (call(KLWeight), {"value": NUMBERS, "start": NUMBERS, "end": NUMBERS}),
    "LRSchedule": (call(LRSchedule, kind="linear"), {"kind": CHOICES, "after": NUMBERS, "steps": LISTS[:-1]}),
    "RandomAffine": (call(RandomAffine), dict.fromkeys(("degrees", "shear", "scale", "shift"), NUMBERS)),
    "VariationalDropout": (
        call(VariationalDropout, model=MODEL),
        {"model": OBJECTS, "log_sigma2": NUMBERS, "alpha_sharing": CHOICES},
    ),
    "GaussianDropout": (call(GaussianDropout, model=MODEL, p=0.5), {"model": OBJECTS, "p": NUMBERS, "noise_on": CHOICES}),
    "BernoulliDropout": (call(BernoulliDropout, model=MODEL, p=0.5), {"model": OBJECTS, "p": NUMBERS}),
    "GroupVariationalDropout": (
        call(GroupVariationalDropout, model=JEFFREYS),
        {"model": OBJECTS, "log_sigma2": NUMBERS, "weight_noise": FLAGS},
    ),
    "LogNormalDropout": (
        call(LogNormalDropout, model=MODEL),
        {"model": OBJECTS, "log_sigma2": NUMBERS, "weight_noise": FLAGS},
    ),
    "PointEstimate": (call(PointEstimate, model=MODEL), {"model": OBJECTS, "masks": (STRING, TUPLE, TENSOR, FLAG, {"a": 1})}),
    "EarlyStopping": (call(EarlyStopping, patience=3), {"patience": WHOLE, "min_delta": NUMBERS}),
    "Normal": (call(Normal), {"scale": NUMBERS, "initial_scale": NUMBERS}),
    "VariationalDropoutELBO": (
        call(VariationalDropoutELBO),
        {"kl_weight": NUMBERS, "num_particles": WHOLE, "noise": CHOICES},
    ),
    "save_pruned": (call(save_pruned, net=NET, path="never"), {"net": OBJECTS, "path": PATHS, "layout": CHOICES}),
    "save_onnx": (
        call(save_onnx, net=NET, path="never", example=X),
        {"net": OBJECTS, "path": PATHS, "example": (*OBJECTS[:4], 3), "dynamic": LISTS},
    ),
    "save_torch_export": (
        call(save_torch_export, net=NET, path="never", example=X),
        {"net": OBJECTS, "path": PATHS, "example": OBJECTS[:-1], "dynamic": LISTS},
    ),
    "sparsify_runtime": (
        call(sparsify_runtime, net=NET, example=X, batch_sizes=(1,)),
        {"net": OBJECTS, "example": (*OBJECTS[:2], *OBJECTS[3:4], *OBJECTS[5:]), "batch_sizes": LISTS},
    ),
    "load_pruned": (call(load_pruned, path="never"), {"path": PATHS}),
    "load_onnx": (call(load_onnx), {"path": PATHS}),
    "load_torch_export": (call(load_torch_export), {"path": PATHS}),
    "load_run": (call(load_run), {"folder": PATHS}),
    "read_inference_data": (call(read_inference_data), {"path": PATHS}),
    "write_inference_data": (call(write_inference_data, path="never"), {"data": OBJECTS[:-1]}),
}
ROWS = [(function, name) for function, (_, names) in TABLE.items() for name in names]
