"""``pyro-vd experiment``: carry out an experiment of the report."""

from __future__ import annotations

from pathlib import Path

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import must_be_one_of
from pyro_vd.cli.arguments import add_data_dir, parse, parser_of

HELP = "carry out an experiment of the report: its table, figures and numbers"


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    from pyro_vd.experiments import NAMES, load_experiment

    parser = parser_of("experiment NAME [--quick] [--out DIR]", HELP)
    listed = "; ".join(f"{name}: {load_experiment(name).HELP}" for name in NAMES)
    parser.add_argument("name", type=str, help=f"{listed} (on two cores)")
    parser.add_argument("--quick", action="store_true", help="on the built-in digits, in seconds, to see that it works")
    parser.add_argument("--out", type=str, help="output folder (default: out/NAME)")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    add_data_dir(parser)
    values = parse(parser, arguments)

    from pyro_vd._core.storage import as_json
    from pyro_vd.experiments.setting import Setting
    from pyro_vd.workflow.tables import print_table

    if values.name not in NAMES:
        raise InputError(must_be_one_of("experiment", values.name, NAMES))
    folder = Path(values.out or Path("out") / values.name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"output folder (={str(folder)!r}) is there already, and not empty; choose another with --out")
    setting = Setting(values.name, values.quick, values.data_dir, progress=not values.quiet)
    outcome = load_experiment(values.name).run(setting)
    folder.mkdir(parents=True, exist_ok=True)
    figures = outcome.save(folder)
    if values.json:
        print(as_json({"folder": str(folder), "columns": outcome.columns, "rows": outcome.rows}))
    else:
        print_table(f"{folder}: {', '.join(path.name for path in figures)}", outcome.columns, outcome.rows, numbers=False)
