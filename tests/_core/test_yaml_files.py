"""What is written as YAML is read as the same, whatever it looks like."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_vd._core.yaml_files import dump_yaml, load_yaml
from pyro_vd.workflow.recipe_files import parse_recipe, recipe_text

LIKE_NUMBERS = st.from_regex(r"[-+]?[0-9.eExX_:~ntyNTYo]{1,8}", fullmatch=True)
LEAVES = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False) | st.text() | LIKE_NUMBERS
KEYS = st.text() | LIKE_NUMBERS | st.integers(-9, 99)
TREES = st.recursive(LEAVES, lambda part: st.lists(part, max_size=3) | st.dictionaries(KEYS, part, max_size=3), max_leaves=8)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_a_tree_comes_back(tree: Any) -> None:
    assert repr(load_yaml(dump_yaml(tree))) == repr(tree)


@pytest.mark.parametrize("text", ["1e5", "08", "1:30", "0x1f", "0o17", "~", "null", "2001-01-01", "1_000", ".5", "é", ""])
def test_names_in_a_recipe_that_look_like_numbers(text: str) -> None:
    """PyYAML writes 1e5 and 08 without quotes, as YAML 1.1 has them; a column of this name could not be read again."""
    recipe = parse_recipe({"data": {"name": "a.csv", "target": text, "drop": [text]}})
    assert parse_recipe(load_yaml(recipe_text(recipe))) == recipe
