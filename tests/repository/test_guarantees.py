"""The page of guarantees names tests that are there, and every row names one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINES = (ROOT / "docs" / "guarantees.md").read_text().splitlines()
ROWS = [line for line in LINES if line.startswith("| ") and not line.startswith("| guarantee ")]


@cache
def names_in(file: str) -> frozenset[str]:
    functions = ast.walk(ast.parse((ROOT / file).read_text()))
    return frozenset(part.name for part in functions if isinstance(part, ast.FunctionDef) and part.name.startswith("test_"))


def test_every_guarantee_is_held_by_a_test_that_exists() -> None:
    assert len(ROWS) > 20
    for row in ROWS:
        named = re.findall(r"`(tests/\S+)::(test_\w+)`", row)
        assert named, row
        for file, name in named:
            assert name in names_in(file), f"{file}::{name}"
