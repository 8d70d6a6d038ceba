"""The command line, ``pyro-vd``: tables on standard output, progress and messages on standard error."""

from __future__ import annotations

import json
import logging
import sys
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from pyro_vd import __version__
from pyro_vd.errors import InputError, NonFiniteError
from pyro_vd.messages import one_line, parsing_message

Result = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point. Exit code 0; 2 for bad input, with a message that quotes it; 1 where training failed; 130 for Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        _run(arguments)
    except (InputError, OSError) as error:
        _exit(2, f"error: {one_line(error)}")
    except NonFiniteError as error:
        _exit(1, f"error: {one_line(error)}")
    except KeyboardInterrupt:
        _exit(130, "interrupted" + ("; --resume goes on from the last epoch" if arguments[:1] == ["train"] else ""))
    sys.exit(0)


def _exit(code: int, message: str) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(code)


def _run(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        listed = "\n".join(f"  {name:10}{what}" for name, (_, what) in COMMANDS.items())
        print(f"usage: pyro-vd COMMAND …\n\n{listed}\n\npyro-vd COMMAND --help tells more; --version prints the version.")
        return
    if arguments[0] == "--version":
        print(f"pyro-vd {__version__}")
        return
    command, *rest = arguments
    if command not in COMMANDS:
        raise InputError(f"command (={command!r}) must be one of {', '.join(COMMANDS)}")
    COMMANDS[command][0](rest)


def _parser(usage: str, command: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=f"pyro-vd {command}",
        usage=f"pyro-vd {usage}",
        description=f"{COMMANDS[command][1].capitalize()}.",
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def _train(arguments: list[str]) -> None:
    from pyro_vd.recipe_files import add_recipe_arguments, read_recipe, recipe_from, recipe_path, recipes

    parser = _parser("train RECIPE [--out DIR] [--resume] [--key value …]", "train")
    parser.add_argument("--config", action="config", help="a further YAML file of keys, after the recipe's")
    parser.add_argument("--out", type=str, help="output folder (default: out/RECIPE)")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    _add_data_dir(parser)
    add_recipe_arguments(parser)
    if arguments and arguments[0] in ("-h", "--help"):
        parser.print_help()
        return
    if not arguments or arguments[0].startswith("-"):
        raise InputError(f"train needs a recipe first: one of {', '.join(recipes())}, or the path of a .yaml file")
    path = recipe_path(arguments[0])
    read_recipe(arguments[0])
    values = _parse(parser, ["--config", str(path), *arguments[1:]])
    recipe = recipe_from(parser, values)
    recipe.data.dir = values.data_dir or recipe.data.dir

    from pyro_vd.run import train_run

    out = Path(values.out or Path("out") / path.stem)
    metrics = train_run(recipe, out, resume=values.resume, progress=not values.quiet)
    _finish(values, {"run": str(out), **metrics}, f"{out}: test data of {metrics['data']}")


def _prune(arguments: list[str]) -> None:
    parser = _parser("prune RUN [--threshold T | --max-error-rise X] [--out FILE]", "prune")
    parser.add_argument("run", type=str, help="folder of a finished run")
    parser.add_argument("--threshold", type=float, help="remove weights with log α at or above it (default: the recipe's)")
    parser.add_argument(
        "--max-error-rise", type=float, help="the lowest threshold whose validation error rises by at most this share"
    )
    parser.add_argument("--out", type=str, help="file to write (default: RUN/pruned-THRESHOLD.safetensors)")
    _add_data_dir(parser)
    values = _parse(parser, arguments)

    from pyro_vd.export import save_pruned
    from pyro_vd.metrics import error_rate, evaluate
    from pyro_vd.pruning import prune
    from pyro_vd.recipe import PruneConfig
    from pyro_vd.run import chosen_threshold
    from pyro_vd.run_folder import load_run

    if values.threshold is not None and values.max_error_rise is not None:
        raise InputError("give --threshold or --max-error-rise, not both")
    run = load_run(values.run, values.data_dir)
    config = run.recipe.prune
    if values.threshold is not None:
        config = PruneConfig(threshold=values.threshold)
    elif values.max_error_rise is not None:
        config = PruneConfig(max_error_rise=values.max_error_rise)
    threshold = chosen_threshold(run.recipe, config, run.model, run.guide, run.validation)
    out = Path(values.out or run.folder / f"pruned-{threshold:g}.safetensors")
    if out.exists():
        raise InputError(f"{out} exists; choose another file with --out")
    net = prune(run.model, run.guide, threshold)
    metrics = asdict(evaluate(net, run.data.test))
    save_pruned(net, out, {"data": run.recipe.data.name, "threshold": threshold, "seed": run.recipe.seed})
    error = error_rate(net, run.validation) if run.validation else None
    result = {
        "file": str(out),
        "threshold": threshold,
        "validation_error": error,
        "networks": {f"pruned at {threshold:g}": metrics},
    }
    held_out = "no validation data" if error is None else f"validation error {100 * error:.2f} %"
    _finish(values, result, f"{out}, not fine-tuned, {held_out}; test data of {run.data.name}")


def _evaluate(arguments: list[str]) -> None:
    parser = _parser("evaluate RUN|FILE [--data NAME] [--data-dir DIR]", "evaluate")
    parser.add_argument("source", type=str, help="folder of a finished run, or a pruned .safetensors file")
    parser.add_argument("--data", type=str, help="data set (default: the one it was trained on)")
    _add_data_dir(parser)
    parser.add_argument("--num-samples", type=int, default=20, help="draws of the Monte Carlo predictive")
    values = _parse(parser, arguments)

    from pyro_vd.data import load_data
    from pyro_vd.export import load_pruned, read_info
    from pyro_vd.metrics import Metrics, evaluate

    source = Path(values.source)
    if not source.exists():
        raise InputError(f"source (={values.source!r}) must be the folder of a finished run, or a pruned .safetensors file")
    networks: dict[str, Metrics] = {}
    if source.is_dir():
        from pyro_vd.run import measure_posterior
        from pyro_vd.run_folder import PRUNED, load_run

        run = load_run(source, values.data_dir)
        data = load_data(values.data, values.data_dir) if values.data else run.data
        networks = measure_posterior(run.recipe, run.model, run.guide, data.test, values.num_samples)
        networks["pruned"] = evaluate(load_pruned(source / PRUNED), data.test)
    else:
        net = load_pruned(source)
        data = load_data(values.data or str(read_info(source).get("data")), values.data_dir)
        networks["pruned"] = evaluate(net, data.test)
    _finish(
        values,
        {"source": str(source), "data": data.name, "networks": {name: asdict(metrics) for name, metrics in networks.items()}},
        f"{source}: test data of {data.name}",
    )


def _recipes(arguments: list[str]) -> None:
    values = _parse(_parser("recipes", "recipes"), arguments)

    from pyro_vd.recipe_files import recipes
    from pyro_vd.tables import print_table

    found = {name: what for name, (_, what) in recipes().items()}
    if values.json:
        print(json.dumps(found))
    else:
        print_table("recipes", ["name", "what"], list(found.items()), numbers=False)


def _add_data_dir(parser: ArgumentParser) -> None:
    parser.add_argument("--data-dir", type=str, help="torchvision root (default: the recipe's data.dir, then $PYRO_VD_DATA)")


def _parse(parser: ArgumentParser, arguments: list[str]) -> Namespace:
    try:
        return parser.parse_args(arguments)
    except ArgumentError as error:
        message = parsing_message(error)
        raise InputError(message if "must be" in message else f"{message}; see {parser.prog} --help") from error
    except UnicodeDecodeError as error:
        raise InputError(f"a file among {' '.join(arguments)} is no text: {error}") from error


def _finish(values: Namespace, result: Result, title: str) -> None:
    from pyro_vd.storage import as_json
    from pyro_vd.tables import print_networks

    if values.json:
        print(as_json(result))
    else:
        print_networks(title, json.loads(as_json(result))["networks"])


COMMANDS: dict[str, tuple[Callable[[list[str]], None], str]] = {
    "train": (_train, "pretrain, train, prune and measure as a recipe says"),
    "prune": (_prune, "prune a trained run at another threshold"),
    "evaluate": (_evaluate, "measure a run, or a pruned network's file, on the test data"),
    "recipes": (_recipes, "list the built-in recipes"),
}
