"""``pyro-vd report``: which file it writes, what it refuses, and what it says where a run lacks something."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from support import SMALL, contents, refused, run_cli

from pyro_vd import load_run
from pyro_vd._core.extras import PACKAGES
from pyro_vd.cli.report import FILE
from pyro_vd.evaluation.prediction import Prediction
from pyro_vd.evaluation.score import ERROR, Score
from pyro_vd.export import load_pruned, save_pruned
from pyro_vd.export.pruned_file import read_info
from pyro_vd.training.alpha_log import read_alpha_log
from pyro_vd.workflow.comparison import RunResult
from pyro_vd.workflow.pretraining import pretrained_in
from pyro_vd.workflow.report_page.calibration import calibration_section
from pyro_vd.workflow.report_page.masks import MOST_COLUMNS, MOST_ROWS, NO_CELL, mask_picture
from pyro_vd.workflow.report_page.of_run import run_report
from pyro_vd.workflow.report_page.pareto import front
from pyro_vd.workflow.report_page.section import Subject
from pyro_vd.workflow.report_page.units import ranges
from pyro_vd.workflow.run_folder import ALPHA_LOG, checkpoint_of


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to write into."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def texts(subject: Subject) -> dict[str, str]:
    """The HTML of each section, without its figures."""
    return {section.key: "".join(part for part in section.parts if isinstance(part, str)) for section in subject.sections}


def test_the_file_is_written_once(run: Path) -> None:
    before = contents(run)
    code, out, err = run_cli("report", run, "--json")
    assert (code, err) == (0, "")
    path = run / FILE
    assert json.loads(out) == {"file": str(path), "runs": [str(run)], "bytes": path.stat().st_size}
    assert contents(run).keys() - before.keys() == {FILE}
    path.write_text("mine")
    refused("report", run, quoted=[str(path), "--overwrite", "--out"])
    assert path.read_text() == "mine"
    assert run_cli("report", run, "--overwrite", "--quiet")[0] == 0
    assert path.read_text().startswith("<!doctype html>")


def test_refusals(run: Path, tmp_path: Path) -> None:
    refused("report", tmp_path / "none", quoted=[str(tmp_path / "none")])
    refused("report", run, run, "--out", tmp_path / "a.html", quoted=[str(run), "twice"])
    numbers = Path(shutil.copytree(run, tmp_path / "numbers"))
    metrics = json.loads((numbers / "metrics.json").read_text())
    network: dict[str, Any] = {"rmse": 1.0, "rmse_se": 0.1, "coverage_50": 0.5, "coverage_90": 0.9, "examples": 9}
    metrics["networks"] = {name: {**each, **network} for name, each in metrics["networks"].items()}
    (numbers / "metrics.json").write_text(json.dumps(metrics))
    refused("report", run, numbers, "--out", tmp_path / "a.html", quoted=["error", "rmse"])
    assert not (tmp_path / "a.html").exists()


def test_a_place_where_no_file_can_be_is_refused_before_anything_is_measured(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyro_vd.workflow.report_page.files.run_report", lambda *_: pytest.fail("measured"))
    refused("report", run, "--out", tmp_path / "none" / "a.html", quoted=[str(tmp_path / "none"), "no folder"])
    refused("report", run, "--out", tmp_path, "--overwrite", quoted=[str(tmp_path), "not a file"])


def test_what_is_said_of_a_network_is_said_once(run: Path, caplog: pytest.LogCaptureFixture) -> None:
    net = load_pruned(path := run / "pruned.safetensors")
    for parameter in net.parameters():
        parameter.data.zero_()
    save_pruned(net, path, read_info(path))
    caplog.clear()
    run_report(run, progress=False)
    assert caplog.text.count("no input reaches the output") == 1


def test_without_the_extra(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGES, "plotly", ("no_such_package", "report"))
    refused("report", run, quoted=["plotly", "pip install 'pyro_vd[report]'"])
    line = ("compress", run, "--target=1.5", "--deploy=sparse", "--epochs=1", "--lr=0.01", "--quiet", "--out", tmp_path / "out")
    code, _, err = run_cli(*line)
    assert code == 0, "what took the time is there"
    assert "no report.html: a report page needs plotly" in err
    assert (tmp_path / "out" / "small.safetensors").exists()


def test_what_a_run_lacks_is_said(run: Path, tmp_path: Path) -> None:
    assert len(read_alpha_log(run / ALPHA_LOG)) == 2, "epochs of the phase train"
    (run / ALPHA_LOG).unlink()
    checkpoint_of(run, "pretrain").unlink()
    (run / "recipe.yaml").write_text((run / "recipe.yaml").read_text().replace("validation: 100", "validation: 0"))
    subject = run_report(run, progress=False)
    shown = texts(subject)
    assert "log-alpha.jsonl is not in the folder" in shown["alpha"]
    assert "No validation data were held out" in shown["threshold"]
    charts = [part for section in subject.sections if section.key == "calibration" for part in section.parts]
    names = [trace["name"] for chart in charts if not isinstance(chart, str) for trace in chart.traces]
    assert "posterior mean, not pruned" in names
    assert "Sizes and times before: of the posterior mean, not pruned" in shown["headline"]

    fixed = tmp_path / "fixed"
    keys = (*SMALL[:-1], "--train.guide=bernoulli", "--train.guide.p=0.3", "--train.train_threshold=null")
    code, _, err = run_cli("train", "digits", *keys, "--finetune.epochs=0", "--device=cpu", "--quiet", "--out", fixed)
    assert code == 0, err
    assert not (fixed / ALPHA_LOG).exists()
    shown = texts(run_report(fixed, progress=False))
    assert all("learns no log α" in shown[key] for key in ("threshold", "alpha"))


def test_the_commands_of_a_page_have_what_they_need(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_vd.workflow.report_page.of_run.trusted", lambda: ("mine",))
    shown = texts(run_report(run, "my data", progress=False))["repeat"]
    train, report = (line for line in shown.splitlines() if "pyro-vd " in line)
    assert train.endswith("-again --trust mine --data.dir &#x27;my data&#x27;")
    assert "report" in report
    assert "--trust mine --data-dir &#x27;my data&#x27;" in report


def test_observations_without_a_label_that_counts() -> None:
    found = {name: Prediction(torch.full((4, 3), 1 / 3).log()) for name in ("before", "after")}
    section = calibration_section(found, torch.full((4,), -100), ((), ()), ())
    assert isinstance(section.parts[-1], str)
    assert "No label of these data counts" in section.parts[-1]


def test_the_pretrained_network_is_that_of_the_run(finished_run: Path) -> None:
    run = load_run(finished_run)
    net, _ = pretrained_in(checkpoint_of(finished_run, "pretrain"), run.recipe)
    x, y = run.data.test
    wrong = (net.eval()(x).argmax(1) != y).float().mean().item()
    metrics = json.loads((finished_run / "metrics.json").read_text())
    assert wrong == pytest.approx(metrics["networks"]["pretrained"]["error"])


def test_the_front_is_of_validation_scores() -> None:
    points = {"a": (2.0, 0.1), "b": (4.0, 0.1), "c": (3.0, 0.2), "d": (9.0, 0.3), "e": (1.0, 0.05), "f": (99.0, None)}
    results = []
    for name, (factor, value) in points.items():
        validation = None if value is None else Score(ERROR, value)
        results.append(RunResult(name, "data", 9, 0, Score(ERROR, 0.0), 0.0, factor, {}, 1.0, validation=validation))
    assert [result.run for result in front(results)] == ["e", "b", "d"]


def test_pictures_of_masks() -> None:
    levels = torch.zeros(900, 1000, dtype=torch.uint8)
    levels[899, 999] = 7
    picture = mask_picture("a", levels, ("out", "in"))
    assert picture.levels.shape == (300, 500)
    assert (picture.levels.nonzero().tolist(), int(picture.levels.max())) == ([[299, 499]], 7)
    assert "3 × 2 weights" in picture.cell
    tall = mask_picture("a", torch.arange(60, dtype=torch.uint8).reshape(30, 2), ("in", "out"))
    assert torch.equal(tall.levels, torch.arange(60, dtype=torch.uint8).reshape(30, 2).T)
    filters = torch.arange(1, 28, dtype=torch.uint8).reshape(3, 1, 3, 3)
    tiles = mask_picture("a", filters, ("out", "in", "kernel_0", "kernel_1")).levels
    assert torch.equal(tiles[:3, :3], filters[0, 0])
    assert torch.equal(tiles[:3, 4:7], filters[1, 0])
    assert (tiles[:, 3] == NO_CELL).all()
    wide = mask_picture("a", torch.zeros(2 * MOST_ROWS + 1, MOST_COLUMNS + 1, dtype=torch.uint8), ("out", "in")).levels.shape
    assert wide[0] <= MOST_ROWS
    assert wide[1] <= MOST_COLUMNS


@pytest.mark.parametrize(("numbers", "text"), [((), ""), ((3,), "3"), ((0, 1, 2, 4, 8, 9), "0–2, 4, 8–9")])
def test_ranges(numbers: tuple[int, ...], text: str) -> None:
    assert ranges(numbers) == text
