"""What could not be read again is not written."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import nn

from pyro_vd import save_pruned
from pyro_vd._core.reading import plain_json

INFOS: list[Any] = [
    (1, 2),
    {"a": (1, 2)},
    {"a": math.nan},
    {"a": math.inf},
    {1: "a"},
    {None: 1},
    {"a": {1}},
    {"a": b"x"},
    [1],
    "x",
]
CYCLE: dict[str, Any] = {}
CYCLE["a"] = CYCLE
DEEP: Any = {}
for _ in range(2000):
    DEEP = {"a": DEEP}


@pytest.mark.parametrize("info", [*INFOS, {"a": "\ud800"}, {"a": 10**5000}, CYCLE, DEEP], ids=lambda info: "")
def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, info: Any) -> None:
    with refuses("info", info):
        save_pruned(nn.Linear(2, 2), tmp_path / "net", info)
    assert not list(tmp_path.iterdir())


def test_what_would_be_too_large_to_be_read_again_is_not_written(tmp_path: Path) -> None:
    with refuses(ANYTHING, ANYTHING, f"{2**20:,}"):
        save_pruned(nn.Linear(2, 2), tmp_path / "net", {"a": "x" * 2_000_000})
    assert not list(tmp_path.iterdir())


def test_networks_that_could_not_be_read_again_are_not_written(tmp_path: Path) -> None:
    nan, float8 = nn.Linear(2, 2), nn.Linear(2, 2)
    nan.weight.data[0, 1] = torch.nan
    float8.register_buffer("small", torch.zeros(3).to(torch.float8_e4m3fn))
    pool = nn.AdaptiveAvgPool2d(20_000)
    refused: list[tuple[nn.Module, object, object, str]] = [
        (nan, "net", ["weight"], "weight"),
        (float8, ANYTHING, ANYTHING, "float8"),
        (pool, "net", 400_000_000, "400,000,000"),
    ]
    for net, name, value, mentioned in refused:
        with refuses(name, value, mentioned):
            save_pruned(net, tmp_path / "net")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "1e999", '{"a": 1, "a": 2}', "[" * 100 + "]" * 100, '"\\ud800"', "1" * 5000, "", "{} {}"]
)
def test_what_is_no_plain_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        plain_json(text)
