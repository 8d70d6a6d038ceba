"""``pyro-vd experiment``: carry out an experiment of the report."""

from __future__ import annotations

from pathlib import Path

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import must_be_one_of
from pyro_vd.cli.arguments import add_data_dir
from pyro_vd.cli.parsing import Parser


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    from pyro_vd.experiments import NAMES, load_experiment

    parser = Parser("experiment NAME [--quick] [--out DIR]")
    listed = "; ".join(f"{name}: {load_experiment(name).HELP}" for name in NAMES)
    parser.value("name", str, f"{listed} (times are for one core)")
    parser.flag("--quick", "take the built-in digits and finish within seconds, to see that the experiment works")
    parser.value("--out", str, "output folder (default: out/NAME)")
    parser.flag("--quiet", "show no progress")
    add_data_dir(parser)
    values = parser.read(arguments)

    from pyro_vd._core.storage import as_json
    from pyro_vd.experiments.setting import Setting
    from pyro_vd.workflow.tables import print_table

    if values.name not in NAMES:
        message = must_be_one_of("experiment", values.name, NAMES)
        raise InputError(message, name="experiment", value=values.name, allowed=f"one of {', '.join(NAMES)}")
    folder = Path(values.out or Path("out") / values.name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        message = f"output folder (={str(folder)!r}) exists and is not empty; choose another with --out"
        raise InputError(message, name="output folder", value=str(folder))
    setting = Setting(values.name, values.quick, values.data_dir, progress=not values.quiet)
    outcome = load_experiment(values.name).run(setting)
    folder.mkdir(parents=True, exist_ok=True)
    figures = outcome.save(folder)
    if values.json:
        print(as_json({"folder": str(folder), "columns": outcome.columns, "rows": outcome.rows}))
    else:
        print_table(f"{folder}: {', '.join(path.name for path in figures)}", outcome.columns, outcome.rows, numbers=False)
