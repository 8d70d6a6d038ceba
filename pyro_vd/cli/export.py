"""``pyro-vd export``: write a pruned network in another format, and measure the file that was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyro_vd.cli.arguments import (
    SOURCE,
    add_data_dir,
    add_trust,
    data_to_measure,
    likelihood_in,
    new_file,
    source_of,
    take_trust,
)
from pyro_vd.cli.parsing import Parser

if TYPE_CHECKING:
    from pyro_vd.data.dataset import Arrays


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    from pyro_vd.export.formats import FORMATS

    parser = Parser(
        "export RUN|FILE --format FORMAT [--no-compact] [--out FILE] [--data NAME] [--data-dir DIR] [--trust PACKAGE]"
    )
    parser.value("source", str, SOURCE)
    parser.value(
        "--format",
        Literal[*FORMATS],
        "; ".join(f"{name}: {form.what}" for name, form in FORMATS.items()),
        required=True,
    )
    parser.flag("--no-compact", "keep the units and inputs that do not matter")
    parser.value("--out", str, "file to write (default: beside the pruned network, named after the format)")
    parser.value("--data", str, "data set to measure on (default: the one that the network was trained on)")
    add_data_dir(parser)
    add_trust(parser)
    values = parser.read(arguments)

    from pyro_vd._core.ending import unfinished
    from pyro_vd._core.storage import as_json
    from pyro_vd.compaction.compacting import compact
    from pyro_vd.evaluation.checks import check_network
    from pyro_vd.evaluation.predictors import outputs
    from pyro_vd.evaluation.score import output_score, validation_score
    from pyro_vd.export.pruned_file import dense_size, load_pruned, read_info
    from pyro_vd.networks.inputs import rows
    from pyro_vd.networks.sizes import layer_sizes

    source, form = source_of(values), FORMATS[values.format]
    take_trust(values)
    file = source
    if source.is_dir():
        from pyro_vd.workflow.finished_run import run_pruned  # needs Pyro, which a file does not
        from pyro_vd.workflow.run_folder import PRUNED

        file = source / PRUNED
    out = new_file(values.out or file.with_name(file.stem + form.suffix))
    net = run_pruned(source) if source.is_dir() else load_pruned(source)
    info = read_info(file)
    data, test, validation = _data(source, values.data, info, values.data_dir)
    likelihood = likelihood_in(info, file)
    x, y = check_network("test data", test, net, likelihood)
    small = net if values.no_compact else compact(net, rows(x, slice(2)))

    with unfinished(out):
        try:
            form.save(small, out, rows(x, slice(7)), info)
            written = form.loaded(out, small)
            wanted = outputs(net, x)
            networks = {}
            for name, tried, stored, size in (
                ("dense safetensors", net, net, dense_size(net, info)),
                (values.format, written, small, out.stat().st_size),
            ):
                output = wanted if tried is net else outputs(tried, x)
                networks[name] = {
                    "bytes": size,
                    "parameters": sum(parameter.numel() for parameter in stored.parameters()),
                    "nonzero": sum(layer.nonzero for layer in layer_sizes(stored)),
                    **output_score(output, y, likelihood).named(),
                    **validation_score(tried, validation, likelihood),
                    "largest_difference": (output - wanted).abs().max().item(),
                }
        except BaseException:
            out.unlink(missing_ok=True)  # it is ours, and not what it should be
            raise
    result = {"file": str(out), "data": data, "networks": networks}
    if values.json:
        print(as_json(result))
    else:
        _print(result)


def _data(source: Path, name: str | None, info: dict[str, Any], data_dir: str | None) -> tuple[str, Arrays, Arrays | None]:
    """The name of the data to measure on, these data, and a run's validation data."""
    if source.is_dir() and not name:
        from pyro_vd.workflow.finished_run import load_run

        run = load_run(source, data_dir)
        return run.data.name, run.data.test, run.validation
    return *data_to_measure(source, name, info, data_dir), None


def _print(result: dict[str, Any]) -> None:
    from pyro_vd.evaluation.score import label_in
    from pyro_vd.workflow.tables import print_table, score_cell

    dense, *_ = result["networks"].values()
    score = label_in(dense)
    columns = ["format", "bytes", "smaller", "parameters", "non-zeros", score, f"validation {score}", "outputs off by"]
    rows = [
        [
            name,
            f"{net['bytes']:,}",
            f"{dense['bytes'] / net['bytes']:.1f}x",
            f"{net['parameters']:,}",
            f"{net['nonzero']:,}",
            score_cell(net),
            score_cell(net, "validation_"),
            f"{net['largest_difference']:.1g}",
        ]
        for name, net in result["networks"].items()
    ]
    print_table(f"{result['file']}: test data of {result['data']}", columns, rows)
