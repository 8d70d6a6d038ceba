"""Patterns over names: the first match wins, and a pattern without a match is refused."""

from __future__ import annotations

import pytest
from support import refuses

from pyro_vd._core.patterns import by_pattern, names_matching

NAMES = ["embedding.weight", "blocks.0.weight", "blocks.0.bias", "blocks.1.weight"]


def test_the_first_match_counts() -> None:
    assert by_pattern("x", {"blocks.0.weight": 1, "blocks.*": 2, "*.weight": 3}, NAMES, complete=True) == {
        "embedding.weight": 3,
        "blocks.0.weight": 1,
        "blocks.0.bias": 2,
        "blocks.1.weight": 2,
    }
    assert by_pattern("x", {"*.bias": 1}, NAMES) == {"blocks.0.bias": 1}
    assert by_pattern("x", {}, NAMES) == {}


def test_names_keep_their_order() -> None:
    assert names_matching("x", ["blocks.1*", "*.bias", "embedding.weight"], NAMES) == [NAMES[0], *NAMES[2:]]


@pytest.mark.parametrize("patterns", ["*", 3, [3]])
def test_what_is_no_list_of_patterns(patterns: object) -> None:
    with refuses("x", patterns):
        names_matching("x", patterns, NAMES)


def test_a_pattern_without_a_match_is_refused_with_a_suggestion() -> None:
    with refuses("x", ["embeding.weight"], "did you mean 'embedding.weight'"):
        names_matching("x", ["*", "embeding.weight"], NAMES)
    with refuses("x", ["head.*"]):
        by_pattern("x", {"head.*": 1, "*": 2}, NAMES)
    with refuses("x", ["blocks.0.bias"]):
        by_pattern("x", {"*.weight": 1}, NAMES, complete=True)
