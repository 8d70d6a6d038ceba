"""``pyro-vd train``: pretrain, train, prune and measure as a recipe says."""

from __future__ import annotations

from pathlib import Path

from pyro_vd.cli.arguments import finish, parse, parser_of, with_recipe

HELP = "pretrain, train, prune and measure as a recipe says"


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    from pyro_vd.workflow.recipe_files import recipe_from

    parser = parser_of("train RECIPE [--out DIR] [--resume] [--key value …]", HELP)
    parser.add_argument("--out", type=str, help="output folder (default: out/RECIPE)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    path, given = with_recipe(parser, arguments)
    values = parse(parser, given)
    recipe = recipe_from(parser, values)

    from pyro_vd.workflow.training_run import train_run

    out = Path(values.out or Path("out") / path.stem)
    metrics = train_run(recipe, out, resume=values.resume, progress=not values.quiet)
    finish(values, {"run": str(out), **metrics}, f"{out}: test data of {metrics['data']}")
    if not values.json and "compact" in metrics:  # a run finished under an earlier version lacks it
        print("compact: {units} units, {parameters:,} parameters, {flops:,} FLOPs per example".format(**metrics["compact"]))
