"""``pyro-vd compress``: make the network of a recipe or of a run so many times smaller where it is deployed."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyro_vd._core.errors import InputError, MissingPackageError
from pyro_vd.cli.arguments import add_data_dir, add_trust, take_trust
from pyro_vd.cli.parsing import Parser
from pyro_vd.cli.recipe_options import read_recipe_arguments

if TYPE_CHECKING:
    from pyro_vd.workflow.compress_result import CompressResult

ONNX = "small.onnx"
"""The file that is written with ``--deploy onnx``, beside the one for :func:`~pyro_vd.load_pruned`."""


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    parser = Parser(
        "compress RECIPE|RUN (--target N|max | --target-latency S) [--deploy FORM] [--out DIR] [--resume] [--KEY VALUE …]",
        "A recipe's network is first trained by the recipe's phase pretrain; the pruned network of a run is taken as it is. "
        "The keys of prune and finetune, and those of train but batch_size, are not used: the target takes their place.",
    )
    parser.value("--target", str, "how many times fewer bytes its file is to have, or max, for as many as the error allows")
    parser.value("--target-latency", float, "in place of --target: the seconds of a batch of 64 where it is deployed")
    parser.value("--max-error-rise", float, "the rise of the validation error that max allows (default: 0.002)", default=0.002)
    parser.value(
        "--deploy",
        Literal["onnx", "torch", "sparse"],
        "onnx, or torch (a file of the compact network), or sparse (a file of its non-zeros) (default: onnx)",
        default="onnx",
    )
    parser.value("--epochs", int, "epochs of each training for a size (default: by the number of steps)")
    parser.value("--lr", float, "the learning rate of these (default: chosen)")
    parser.value("--out", str, "output folder (default: out/compress-NAME)")
    parser.flag("--resume", "go on with what is in the output folder")

    source = Path(arguments[0]) if arguments and not arguments[0].startswith("-") else None
    if source is not None and source.is_dir():
        parser.flag("--quiet", "show no progress")
        add_data_dir(parser)
        add_trust(parser)
        values = parser.read(arguments[1:])
        take_trust(values)
        recipe, name = None, source.name
    else:
        given = read_recipe_arguments(parser, arguments)
        recipe, values, name = given.recipe(), given.values, given.path.stem

    from pyro_vd._core.storage import as_json
    from pyro_vd.workflow.compress_arguments import check_arguments
    from pyro_vd.workflow.compress_identity import COMPRESSED
    from pyro_vd.workflow.compress_recipe import of_recipe, of_run
    from pyro_vd.workflow.compressing import compress
    from pyro_vd.workflow.run_folder import is_begun

    out = Path(values.out or Path("out") / f"compress-{name}")
    is_begun(out, values.resume)
    asked: dict[str, Any] = {
        "target": _target(values.target),
        "target_latency": values.target_latency,
        "max_error_rise": values.max_error_rise,
        "deploy": values.deploy,
        "epochs": values.epochs,
        "lr": values.lr,
    }
    settings: dict[str, Any] = {}
    if recipe is not None:
        settings = {"seed": recipe.seed, "device": recipe.torch_device()}
    check_arguments(**asked, **settings)
    if recipe is None:
        assert source is not None
        found = of_run(source, values.data_dir)
    else:
        found = of_recipe(recipe, out, values.resume, not values.quiet)
        settings["batch_size"] = recipe.train.batch_size
    result = compress(
        found.net,
        found.data,
        validation=found.validation,
        likelihood=found.likelihood,
        augment=found.augment,
        folder=out,
        resume=values.resume,
        progress=not values.quiet,
        **asked,
        **settings,
    )
    result.save(file := out / COMPRESSED, found.info)
    if values.deploy == "onnx":
        result.save(file := out / ONNX)
    print(as_json({"file": str(file), **_numbers(result)}) if values.json else f"{result}\n{file}", flush=True)
    try:
        result.report(out / "report.html")
    except MissingPackageError as error:
        print(f"no report.html: {error}", file=sys.stderr)


def _target(text: str | None) -> float | Literal["max"] | None:
    if text is None or text == "max":
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError:
        raise InputError(name="target", value=text, allowed="a number above 1, or max") from None


def _numbers(result: CompressResult) -> dict[str, Any]:
    """What ``--json`` prints of a result."""
    found = result.to_dict()
    return {
        "met": result.met,
        "smaller": result.smaller,
        "networks": {name: found[name] for name in ("before", "after")},
        "test": asdict(result.test),
        "attempts": [asdict(each) for each in result.attempts],
        "notes": [*result.notes, *result.said],
    }
