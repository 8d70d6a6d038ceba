"""``pyro-vd train``: pretrain, train, prune and measure as a recipe says."""

from __future__ import annotations

from pathlib import Path

from pyro_vd.cli.arguments import finish
from pyro_vd.cli.parsing import Parser
from pyro_vd.cli.recipe_options import read_recipe_arguments

MOST_WORDS = 200
"""The most words of the vocabulary that are listed; all that are left stand in metrics.json."""


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    parser = Parser("train [RECIPE] [--out DIR] [--resume] [--KEY VALUE …]")
    parser.value("--out", str, "output folder (default: out/RECIPE)")
    parser.flag("--resume", "go on with the run in the output folder")
    parser.flag("--print-config", "print the complete recipe as YAML, and do nothing else")
    given = read_recipe_arguments(parser, arguments)
    recipe, values = given.recipe(), given.values

    from pyro_vd.training.torchrun import joined
    from pyro_vd.workflow.recipe_files import recipe_text
    from pyro_vd.workflow.tables import units_text
    from pyro_vd.workflow.training_run import train_run

    out = Path(values.out or Path("out") / given.path.stem)
    with joined(recipe.torch_device()) as processes:
        if values.print_config:
            print(recipe_text(recipe) if processes.is_first else "", end="")
            return
        metrics = train_run(recipe, out, resume=values.resume, progress=not values.quiet)
        if not processes.is_first:
            return
    finish(values, {"run": str(out), **metrics}, f"{out}: test data of {metrics['data']}")
    if not values.json and recipe.prune.max_error_rise is not None:
        print(f"threshold on log α, chosen on the validation data: {metrics['threshold']:g}")
    if not values.json and "compact" in metrics:  # a run finished under an earlier version lacks it
        size = metrics["compact"]
        numbers = f"{size['parameters']:,} parameters, {size['flops']:,} FLOPs per example"
        print(f"compact: {units_text(size['units'])} units, {numbers}")
    if not values.json and "features_left" in metrics:
        left, features = metrics["features_left"], metrics["features"]
        print(f"it reads {len(left)} of {len(features)} features: {', '.join(left) or 'none'}")
    if not values.json and "words_left" in metrics:
        left, most = metrics["words_left"], MOST_WORDS
        listed = " ".join(left[:most]) + (" …" if len(left) > most else "")
        print(f"it reads {len(left):,} of {metrics['words']:,} words, the most frequent first: {listed or 'none'}")
