"""The table of a recipe with some keys changed: error against compression."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from measured_runs import folder
from measured_tables import table

from pyro_vd.workflow.run_folder import read_metrics
from pyro_vd.workflow.tables import spread


def flat(tree: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """The values of a tree of keys, by dotted key."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) and value else {f"{before}{key}": value}
    return found


def settings(name: str, seed: int) -> dict[str, Any]:
    """The keys of the recipe of a run, without its seed; the factors on the KL of single sites are one value."""
    tree = yaml.safe_load((folder(name, seed) / "recipe.yaml").read_text())
    tree.pop("seed")
    return {**flat(tree), "train.kl_weights": tree["train"]["kl_weights"]}


def curve(recipe: str, seeds: Sequence[int], variants: Mapping[str, Sequence[int]]) -> list[str]:
    """The lines of the table: the recipe as it is, and its variants by the keys that were changed, sorted by compression."""
    base = settings(recipe, seeds[0])
    rows: list[tuple[float, list[str]]] = []
    for name, of_seeds in {recipe: seeds, **{f"{recipe}-{variant}": own for variant, own in variants.items()}}.items():
        changed = {key: value for key, value in settings(name, of_seeds[0]).items() if base.get(key) != value}
        changed = {key: value for key, value in changed.items() if not key.startswith("train.kl_weights.")}
        keys = " ".join(f"--{key} {json.dumps(value)}" for key, value in changed.items())
        runs = [read_metrics(folder(name, seed)) for seed in of_seeds]
        pruned = [run["networks"]["pruned"] for run in runs]
        cells = [
            f"`{keys}`" if keys else "as it is",
            ", ".join(map(str, of_seeds)),
            spread([100 * run["validation_error"] for run in runs], 2),
            spread([100 * net["error"] for net in pruned], 2),
            spread([net["compression"] for net in pruned], 1),
        ]
        rows.append((pruned[0]["compression"], cells))
    head = ["recipe, keys changed", "seeds", "validation error %", "test error %", "compression"]
    return ["Error against compression:", "", *table(head, [cells for _, cells in sorted(rows)])]
