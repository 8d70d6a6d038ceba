"""The tutorials run as they stand, and what they say is so."""

from __future__ import annotations

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

mpl.use("Agg")
pytestmark = pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping")  # ArviZ 0.23 under newer matplotlib


def run_tutorial(name: str) -> tuple[dict[str, Any], list[Any]]:
    """The names a tutorial defines, and what each of its cells shows."""
    cells = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", (TUTORIALS / name).read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    shown = []
    for cell in cells:
        *_, last = cell.rstrip().split("\n")
        exec(compile(cell.rstrip().removesuffix(last), name, "exec"), names)
        shown.append(eval(compile(last, name, "eval"), names))
    return names, shown


@pytest.mark.slow
def test_inspect() -> None:
    names, shown = run_tutorial("inspect.md")
    assert sum(isinstance(value, Figure) for value in shown) == 3
    for value in shown:
        if isinstance(value, Figure):
            value.canvas.draw()
    networks = names["metrics"]["networks"]
    assert networks["pruned"]["error"] < networks["pretrained"]["error"] + 0.01
    assert 25 < networks["pruned"]["compression"] < 40
    assert sum(values.numel() for values in names["log_alphas"].values()) == 22_200
    beyond = sum(int((values >= 15).sum()) for values in names["log_alphas"].values())
    assert beyond > 0.8 * 22_200, "nearly all others are in the last bar"
    assert max(names["shares"].values()) - min(names["shares"].values()) < 0.01
    table = names["table"]
    assert len(table) == 20
    assert (table["mean"].abs() > 4 * table["sd"]).all(), "no interval comes near zero"
    first = to_tree(names["data"])["posterior"]["1.weight"].isel({"1.entry": slice(10)})
    assert (abs(first.mean("draw")) > 4 * first.std("draw")).all()
    assert names["edges"] < 0.2 * names["middle"]


@pytest.mark.slow
def test_hierarchical(caplog: pytest.LogCaptureFixture) -> None:
    names, shown = run_tutorial("hierarchical.md")
    figures = [value for value in shown if isinstance(value, Figure)]
    assert len(figures) == 3
    for figure in figures:
        figure.canvas.draw()
    assert [record.getMessage().split()[0] for record in caplog.records] == ["Labs", "BayesianNetwork"], "without a guide"
    assert names["distance"].abs().max() < 0.25
    table = names["table"]
    assert set(table.index) == {"spread", "noise", *(f"offset[{lab}]" for lab in range(8))}
    assert table["mean"]["noise"] == pytest.approx(names["true_noise"], abs=0.04), "the noise is found"
    assert table["sd"][[f"offset[{lab}]" for lab in range(8)]].between(0.03, 0.12).all(), "known to about a tenth"
    assert table["sd"]["spread"] > 1.5 * table["sd"]["offset[0]"], "known less well"
    assert 15 < names["left"] < 45, "about half of the weights are left"
    truth = torch.sin(2 * names["grid"])
    assert (names["curve"] - names["curve"].mean() - truth).square().mean().sqrt() < 0.15
    assert names["draws"].shape == (7, 240)
    assert names["losses"][-1] < names["losses"][0]


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


@pytest.mark.slow
def test_sweep() -> None:
    names, shown = run_tutorial("sweep.md")
    (figure,) = (value for value in shown if isinstance(value, Figure))
    figure.canvas.draw()
    settings = {each["setting"].split("=")[1]: each for each in names["grid"]["settings"]}
    assert settings.keys() == {"0.03", "0.1", "0.3", "1"}
    scores = [each["score"]["value"] for each in names["grid"]["settings"]]
    assert scores == sorted(scores)
    assert settings["1"]["compression"] > 2 * settings["0.03"]["compression"], "a small β removes few weights"
    assert names["grid"]["best"]["setting"] == names["grid"]["settings"][0]["setting"]
    assert names["sparse"]["settings"] == names["grid"]["settings"], "nothing was trained again"
    low, high = names["test"]["interval"]
    assert 0 < low < names["test"]["score"]["value"] < high < 0.3
    assert len(names["search"]["settings"]) == 4
    again = names["sparse"]["best"]["again"].split()
    assert again[:2] == ["pyro-vd", "train"]
    assert Path(again[2]).is_file()


@pytest.mark.slow
def test_tables() -> None:
    names, shown = run_tutorial("tables.md")
    (figure,) = [value for value in shown if isinstance(value, Figure)]
    figure.canvas.draw()
    features = names["data"].features
    assert features[:3] == ("size", "lift", "city=Lille")
    left = names["metrics"]["features_left"]
    assert {"size", "city=Paris"} <= set(left) < set(features)
    assert not {"door", "colour=blue", "colour=white", "income"} & set(left), "what says nothing of the price"
    networks = names["metrics"]["networks"]
    assert networks["pruned"]["rmse"] < 0.6 * networks["ridge"]["rmse"]
    assert networks["pruned"]["rmse"] < 30_000
    assert names["error"] == pytest.approx(networks["pruned"]["rmse"], rel=0.2)
    assert 0.8 < names["inside"] < 0.98


@pytest.mark.slow
def test_compress(capsys: pytest.CaptureFixture[str]) -> None:
    names, shown = run_tutorial("compress.md")
    result = names["result"]
    assert result.met
    assert result.smaller >= 5
    assert "McNemar" in (said := capsys.readouterr().out)
    assert "300 validation examples" in said
    assert shown[2] == pytest.approx(result.losses_after.score.value), "of the file"
    assert result.losses_after.score.value < 0.08
    assert result.test.p_value > 0.01
    assert sum(parameter.numel() for parameter in names["net"].parameters()) == shown[0] == 12_060
    assert (names["folder"] / "small.html").exists()
    compressions = [record.compression for record in names["history"]]
    assert compressions[-1] == pytest.approx(20, rel=0.1)
    assert compressions[9] < compressions[29] < compressions[47]
    assert names["history"][-1].kl_weight < 0.1 * max(record.kl_weight for record in names["history"])
