"""What a search may draw, as it is given on the command line."""

from __future__ import annotations

import pytest
from support import refuses

from pyro_vd.workflow.search_space import Choices, Range, read_search


def test_forms() -> None:
    assert read_search(
        ["train.lr=1e-4..0.01", "train.kl_weight.value=log:.03..3", "train.epochs=5..20", "finetune.epochs=log:1..8"]
    ) == {
        "train.lr": Range(1e-4, 0.01, log=False, whole=False),
        "train.kl_weight.value": Range(0.03, 3.0, log=True, whole=False),
        "train.epochs": Range(5, 20, log=False, whole=True),
        "finetune.epochs": Range(1, 8, log=True, whole=True),
    }
    assert read_search(["train.restore_best=true,false", "model.sizes=[64,30,10],[64,5,10]", "train.guide=group"]) == {
        "train.restore_best": Choices(("true", "false")),
        "model.sizes": Choices(("[64,30,10]", "[64,5,10]")),
        "train.guide": Choices(("group",)),
    }
    assert read_search(["train.max_grad_norm=-1..2"])["train.max_grad_norm"] == Range(-1, 2, False, False), "a number or null"


def test_numbers_are_rounded_within_the_range() -> None:
    each = Range(1.00004, 2.00006, log=False, whole=False)
    assert [each.text(value) for value in (1.00004, 1.23456789, 2.00006, 1e-5 + 1.5)] == ["1.00004", "1.235", "2", "1.5"]
    assert Range(1, 10**6, log=True, whole=True).text(123456) == "123456"
    assert float(Range(1e-7, 1e7, log=True, whole=False).text(1234567.0)) == 1.235e6


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("train.lr", "key=low..high"),
        ("train.lr=", "key=low..high"),
        ("rain.lr=1..2", "train.lr"),
        ("train.lr=2..1", "smaller"),
        ("train.lr=1..1", "smaller"),
        ("train.lr=log:0..1", "above 0"),
        ("train.lr=0.1,,0.2", "empty"),
        ("train.lr=0.1,0.1", "once"),
        ("train.epochs=1.5..3", "integers"),
        ("train.restore_best=0..1", "no single number"),
        ("model.sizes=0..1", "no single number"),
        ("seed=0..9", "--seeds N"),
        ("data.validation=10..90", "--data.validation"),
    ],
)
def test_refused(text: str, mentioned: str) -> None:
    with refuses("search", text, mentioned):
        read_search([text])
    with refuses("search", "train.lr=3..4"):
        read_search(["train.lr=1..2", "train.lr=3..4"])
