"""Fine-tuning with ``shrink`` trains less of the network, and leaves the weights that are connected without it."""

from __future__ import annotations

from pathlib import Path

from shrinking_support import Watch

from pyro_vd.workflow import train_run
from pyro_vd.workflow.finished_run import run_pruned
from pyro_vd.workflow.recipe_files import parse_recipe, read_recipe, recipe_with


def test_units_without_a_weight_are_not_fine_tuned(tmp_path: Path) -> None:
    content = read_recipe("digits")
    short = {"data.validation": "0", "model.sizes": "[64, 40, 10]", "pretrain.epochs": "0", "train.epochs": "4"}
    short |= {
        "train.kl_weight": "{value: 1.0}",
        "train.batch_size": "200",
        "finetune.batch_size": "200",
        "prune.threshold": "-3",
    }
    kept = {}
    for shrink in ("true", "false"):
        recipe = recipe_with(content, short | {"finetune.epochs": "6", "finetune.shrink": shrink})
        watch = Watch()
        metrics = train_run(recipe, tmp_path / shrink, progress=False, callbacks=[watch])
        left = metrics["compact"]["parameters"]
        assert (watch.weights[-6] < watch.weights[-7]) == (shrink == "true"), "from the first epoch of fine-tuning on"
        kept[shrink] = left, [weight != 0 for weight in run_pruned(tmp_path / shrink).parameters()]
    assert kept["true"][0] == kept["false"][0]
    pairs = zip(kept["true"][1], kept["false"][1], strict=True)
    assert not any(bool((a & ~b).any()) for a, b in pairs if a.ndim > 1), "weights of units without another go, too"
    assert parse_recipe(content).finetune.shrink is False
