"""``pyro-vd report``: finished runs as one page of HTML."""

from __future__ import annotations

from pathlib import Path

from pyro_vd._core.errors import InputError
from pyro_vd.cli.arguments import add_data_dir, add_trust, take_trust
from pyro_vd.cli.parsing import Parser

FILE = "report.html"
_MORE = (
    "The page needs no other file and no connection. It shows error, size and latency before and after, a slider for the "
    "threshold, log α, the masks, the inputs and units that are left, the calibration and the training; of several runs, first "
    "their errors against their compressions."
)


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    parser = Parser("report RUN… [--out FILE] [--overwrite]", _MORE)
    parser.value("runs", str, "folders of finished runs", nargs="+")
    parser.value("--out", str, f"the file to write (default: {FILE} in the folder of the run; of several runs, here)")
    parser.flag("--overwrite", "replace the file if it exists; without this option the command then stops")
    parser.flag("--quiet", "show no progress")
    add_data_dir(parser)
    add_trust(parser)
    values = parser.read(arguments)
    take_trust(values)

    from pyro_vd._core.storage import as_json
    from pyro_vd.workflow.report_page.files import report_runs

    path = Path(values.out or (Path(values.runs[0]) / FILE if len(values.runs) == 1 else FILE))
    if path.exists() and not values.overwrite:
        message = f"{path} exists; replace it with --overwrite, or choose another file with --out"
        raise InputError(message, name="out", value=str(path))
    report_runs(values.runs, path, data_dir=values.data_dir, progress=not values.quiet)
    size = path.stat().st_size
    print(as_json({"file": str(path), "runs": values.runs, "bytes": size}) if values.json else f"{path}: {size / 1e6:.1f} MB")
