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
from argument_support import DATA, FIT, GUIDE, NET, OPTIONAL, ROWS, TABLE, X
from support import refuses
from torch import nn

from pyro_vd import (
    BayesianNetwork,
    InputError,
    KLWeight,
    VariationalDropout,
    choose_threshold,
    fit,
    log_alpha,
    prune,
    to_inference_data,
)
from pyro_vd._core.messages import quoted
from pyro_vd.data import RandomAffine
from pyro_vd.posterior import summarize
from pyro_vd.pruning import pruning_masks, threshold_masks
from pyro_vd.training import MetricsLog, TrainingSpec


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
