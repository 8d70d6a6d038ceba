"""Every public argument given a value of a wrong type is answered by a sentence that quotes it; NumPy's numbers are numbers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import refuses
from torch import nn

import pyro_vd
from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    InputError,
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
from pyro_vd._core.messages import quoted
from pyro_vd.data import RandomAffine
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.export import load_torch_export, save_torch_export
from pyro_vd.guides import BernoulliDropout, GaussianDropout, LogNormalDropout, PointEstimate
from pyro_vd.models import Normal
from pyro_vd.posterior import predictive, read_inference_data, summarize, write_inference_data
from pyro_vd.pruning import pruning_masks, threshold_masks
from pyro_vd.training import LRSchedule, MetricsLog, TrainingSpec

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
    "guide", "likelihood",
    "net", "info", "scale", "masks", "data_dir",
}  # fmt: skip
"""For which None is a value."""


def call(function: Callable[..., Any], **given: Any) -> Callable[[str, Any], object]:
    return lambda name, value: function(**{**given, name: value})


PAIR: dict[str, Any] = {"guide": GUIDE}
FIT = {
    "guide": OBJECTS, "train": EXAMPLES, "validation": EXAMPLES, "epochs": WHOLE, "batch_size": WHOLE,
    "lr": NUMBERS, "lr_schedule": OBJECTS, "kl_weight": NUMBERS, "train_threshold": NUMBERS, "weight_decay": NUMBERS,
    "num_particles": WHOLE, "augment": FUNCTIONS, "rule": NUMBERS, "device": (TUPLE, FLAG, "nosuch", 1.5),
    "checkpoint": PATHS, "resume": FLAGS, "spec": OBJECTS, "phase": (TUPLE, FLAG, None, 3), "progress": FLAGS,
    "callbacks": (*OBJECTS, (0, 1), [FUNCTIONS]), "noise": CHOICES,
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
    "Normal": (call(Normal), {"scale": NUMBERS, "initial_scale": NUMBERS}),
    "VariationalDropoutELBO": (
        call(VariationalDropoutELBO),
        {"kl_weight": NUMBERS, "num_particles": WHOLE, "noise": CHOICES},
    ),
    "save_pruned": (call(save_pruned, net=NET, path="never"), {"net": OBJECTS, "path": PATHS, "layout": CHOICES}),
    "save_onnx": (call(save_onnx, net=NET, path="never", example=X), {"net": OBJECTS, "path": PATHS, "example": OBJECTS[:-1]}),
    "save_torch_export": (
        call(save_torch_export, net=NET, path="never", example=X),
        {"net": OBJECTS, "path": PATHS, "example": OBJECTS[:-1]},
    ),
    "load_pruned": (call(load_pruned, path="never"), {"path": PATHS}),
    "load_onnx": (call(load_onnx), {"path": PATHS}),
    "load_torch_export": (call(load_torch_export), {"path": PATHS}),
    "load_run": (call(load_run), {"folder": PATHS}),
    "read_inference_data": (call(read_inference_data), {"path": PATHS}),
    "write_inference_data": (call(write_inference_data, path="never"), {"data": OBJECTS[:-1]}),
}
ROWS = [(function, name) for function, (_, names) in TABLE.items() for name in names]


@pytest.mark.parametrize(("function", "name"), ROWS)
def test_wrong_types(function: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run, names = TABLE[function]
    for value in names[name]:
        if value is None and name in OPTIONAL:
            continue
        with pytest.raises(InputError) as caught:
            run(name, value)
        message = str(caught.value)
        assert "\n" not in message, "one sentence"
        parts = [repr(part) for part in value] if isinstance(value, tuple) else []
        told = [*parts, type(value).__name__, repr(value), str(value), getattr(value, "__name__", "")]
        told += ["of type", "of shape", "tensor", "list", "array", "pair"]
        assert any(text and text in message for text in told), f"{message!r} does not quote {value!r}"
    assert list(tmp_path.iterdir()) == []


class Unshowable:
    """An object of which even the text fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(("function", "name"), ROWS)
@pytest.mark.parametrize("value", [Unshowable(), [Unshowable()], 10**5000, -(10**400)], ids=["object", "list", "5000", "400"])
def test_what_cannot_be_written_is_refused_as_well(
    function: str, name: str, value: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python writes no integer of more than 4300 digits, and makes no float of one of more than 308."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        TABLE[function][0](name, value)
    assert len(str(caught.value)) < 500
    assert list(tmp_path.iterdir()) == []


def test_a_value_is_quoted_on_one_line_of_at_most_80_letters() -> None:
    assert quoted({"b": (1, 2.5), "a": None}) == "{'a': None, 'b': (1, 2.5)}"
    assert quoted("two\nlines") == repr("two\nlines")
    assert quoted(10**5000) == "an integer of thousands of digits"
    assert quoted(Unshowable()) == "<Unshowable>"
    assert quoted([X]) == "[a tensor of shape (12, 4)]"
    assert quoted(torch.tensor(2.0)) == "tensor(2.)"
    for long in (
        "x" * 10**6,
        list(range(10**6, 2 * 10**6)),
        [[[[list(range(99))] * 99] * 99] * 99] * 99,
        10**4000,
        nn.Sequential(*[NET] * 99),
    ):
        assert len(quoted(long)) == 80
        assert "\n" not in quoted(long)
    assert len(quoted("x" * 999, 300)) == 300


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**5000], ids=["400", "-400", "5000"])
def test_integers_beyond_every_float_are_no_thresholds(value: int) -> None:
    with refuses("rule"):
        prune(GUIDE, value)
    with refuses("end", abs(value)):
        KLWeight(1.0, end=abs(value))
    assert prune(GUIDE, math.inf) is not None


def test_every_argument_of_fit_is_in_the_table() -> None:
    named = set(inspect.signature(fit).parameters)
    assert len(named) == 10, "as many as a reader can keep in mind"
    assert named - {"settings"} | {each.name for each in fields(TrainingSpec)} == set(FIT)
    assert set(inspect.signature(prune).parameters) == set(TABLE["prune"][1])
    assert set(inspect.signature(choose_threshold).parameters) == set(TABLE["choose_threshold"][1])


@pytest.mark.parametrize("number", [np.int64, np.uint8, torch.tensor])
def test_whole_numbers_of_other_kinds_are_taken(number: Callable[[int], Any]) -> None:
    """And are Python's afterwards, so that a log or a checkpoint can hold them."""
    model = BayesianNetwork(NET)
    result = fit(VariationalDropout(model), DATA, epochs=number(2), batch_size=number(6), progress=False)
    assert len(result.history) == 2
    assert len(to_inference_data(VariationalDropout(model), DATA, num_samples=number(3))["posterior"]["draw"]) == 3


@pytest.mark.parametrize("number", [np.float32, np.float64, torch.tensor, np.array])
def test_numbers_of_other_kinds_are_taken(number: Callable[[float], Any], tmp_path: Path) -> None:
    model = BayesianNetwork(NET)
    guide = VariationalDropout(model, number(-8.0))
    options = {"lr": number(0.5), "kl_weight": number(0.25), "train_threshold": number(3.0), "rule": number(2.0)}
    paths = {"checkpoint": str(tmp_path / "c.pt"), "callbacks": [MetricsLog(tmp_path / "log")]}
    result = fit(guide, DATA, epochs=1, progress=False, **options, **paths)  # type: ignore[arg-type]
    assert (result.history[0].lr, result.history[0].kl_weight) == (0.5, 0.25)
    fit(guide, DATA, epochs=1, progress=False, lr=0.5, kl_weight=0.25, train_threshold=3.0, rule=2.0, resume=True, **paths)
    assert KLWeight(number(0.5), number(1), number(2)) == KLWeight(0.5, 1, 2)
    assert repr(RandomAffine(number(4.0))) == repr(RandomAffine(4.0))
    assert [s.pruned for s in summarize(guide, number(2.0))] == [s.pruned for s in summarize(guide, 2.0)]


def test_a_choice_is_a_threshold() -> None:
    choice = choose_threshold(GUIDE, DATA, 1.0)
    by_hand = prune(GUIDE, choice.threshold)
    assert all(torch.equal(a, b) for a, b in zip(prune(GUIDE, choice).parameters(), by_hand.parameters(), strict=True))
    assert summarize(GUIDE, choice) == summarize(GUIDE, choice.threshold)
    assert threshold_masks(log_alpha(GUIDE), choice).keys() == pruning_masks(GUIDE, choice).keys()
    to_inference_data(GUIDE, DATA, num_samples=1, rule=choice)
    assert len(choose_threshold(GUIDE, DATA, 1.0, candidates=[choice, 2.0]).trials) == 2
