"""``pyro-vd train``: pretrain, train, prune and measure as a recipe says."""

from __future__ import annotations

from pathlib import Path

from pyro_vd.commands.arguments import add_data_dir, finish, parse, parser_of
from pyro_vd.errors import InputError

HELP = "pretrain, train, prune and measure as a recipe says"


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    from pyro_vd.recipe_files import add_recipe_arguments, read_recipe, recipe_from, recipe_path, recipes

    parser = parser_of("train RECIPE [--out DIR] [--resume] [--key value …]", HELP)
    parser.add_argument("--config", action="config", help="a further YAML file of keys, after the recipe's")
    parser.add_argument("--out", type=str, help="output folder (default: out/RECIPE)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    add_data_dir(parser)
    add_recipe_arguments(parser)
    if arguments and arguments[0] in ("-h", "--help"):
        parser.print_help()
        return
    if not arguments or arguments[0].startswith("-"):
        raise InputError(f"train needs a recipe first: one of {', '.join(recipes())}, or the path of a .yaml file")
    path = recipe_path(arguments[0])
    read_recipe(arguments[0])
    values = parse(parser, ["--config", str(path), *arguments[1:]])
    recipe = recipe_from(parser, values)
    recipe.data.dir = values.data_dir or recipe.data.dir

    from pyro_vd.run import train_run

    out = Path(values.out or Path("out") / path.stem)
    metrics = train_run(recipe, out, resume=values.resume, progress=not values.quiet)
    finish(values, {"run": str(out), **metrics}, f"{out}: test data of {metrics['data']}")
    if not values.json and "compact" in metrics:  # a run finished under an earlier version lacks it
        print("compact: {units} units, {parameters:,} parameters, {flops:,} FLOPs an example".format(**metrics["compact"]))
