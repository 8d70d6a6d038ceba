"""The tutorials run as they stand: the last cell of each, which the pages hide, checks what the text says.

``make docs`` runs every tutorial in a kernel, so the tests of ``make test`` leave that out.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
import torch
from matplotlib.figure import Figure
from support import ENVIRONMENT

from pyro_vd import load_pruned
from pyro_vd.posterior.arviz_files import to_tree

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"
PAGES = sorted(path.name for path in TUTORIALS.glob("*.md"))

mpl.use("Agg")
pytestmark = pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping")  # ArviZ 0.23 under newer matplotlib


def cells_of(page: str) -> list[str]:
    """The code of the cells of a tutorial, with their options in front."""
    return re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", (TUTORIALS / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def run_tutorial(page: str) -> tuple[dict[str, Any], list[Figure]]:
    """The names that a tutorial defines, and the figures that its cells show."""
    names: dict[str, Any] = {}
    shown = []
    for cell in cells_of(page):
        tree = ast.parse(re.sub(r"\A(:.*\n)+", "", cell))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, page, "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), page, "eval"), names))
    figures = [value for value in shown if isinstance(value, Figure)]
    for figure in figures:
        figure.canvas.draw()
    return names, figures


@pytest.mark.parametrize("page", PAGES)
def test_every_tutorial_shows_figures_and_checks_what_it_says(page: str) -> None:
    *cells, last = cells_of(page)
    assert last.startswith(":tags: [remove-cell]\n")
    assert last.count("\nassert ") >= 3
    assert any(re.search(r"^(figure|drawn|\w+\(.*\))$", cell.rstrip().split("\n")[-1]) for cell in cells)
    assert not any("from matplotlib" in cell for cell in cells), (
        "its figures are shown by pyplot alone; pyro_vd.plots.figure has others"
    )


@pytest.mark.long
@pytest.mark.parametrize("page", sorted({*PAGES} - {"inspect.md", "hierarchical.md"}))
def test_it_runs(page: str) -> None:
    _, figures = run_tutorial(page)
    assert figures


@pytest.mark.long
def test_inspect() -> None:
    names, figures = run_tutorial("inspect.md")
    assert len(figures) == 3
    first = to_tree(names["data"])["posterior"]["1.weight"].isel({"1.entry": slice(10)})
    assert (abs(first.mean("draw")) > 4 * first.std("draw")).all()


@pytest.mark.long
def test_hierarchical(caplog: pytest.LogCaptureFixture) -> None:
    _, figures = run_tutorial("hierarchical.md")
    assert len(figures) == 3
    assert [record.getMessage().split()[0] for record in caplog.records] == ["Labs", "BayesianNetwork"], "without a guide"


NO_THREADS_LEFT = """
from pathlib import Path
left = [each.read_text() for each in Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in each for each in left), left
"""


def under_torchrun(script: str, folder: Path) -> None:
    """Run a script with two processes; a thread that the group has left could abort one at its end."""
    (folder / "script.py").write_text(script + NO_THREADS_LEFT)
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "script.py"]
    found = subprocess.run(line, capture_output=True, text=True, timeout=200, cwd=folder, env=ENVIRONMENT)
    assert found.returncode == 0, found.stderr


@pytest.mark.slow
def test_processes(tmp_path: Path) -> None:
    scripts = re.findall(r"^```python\n(.*?)^```$", (TUTORIALS / "processes.md").read_text(), re.MULTILINE | re.DOTALL)
    of_fit, by_hand = scripts
    under_torchrun(of_fit, tmp_path)
    assert isinstance(load_pruned(tmp_path / "pruned.safetensors"), torch.nn.Module)
    assert (tmp_path / "checkpoint.pt").exists()
    under_torchrun(by_hand, tmp_path)
