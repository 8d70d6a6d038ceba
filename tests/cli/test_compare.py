"""``pyro-vd compare``: the order and contents of its table, its figure's points, and what it points out or refuses."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import contents, refused, run_cli

from pyro_vd.evaluation.score import ERROR, RMSE, Score
from pyro_vd.plots.sizes import error_against_compression
from pyro_vd.workflow.comparison import SORTS, configurations, differences, in_order, read_results
from pyro_vd.workflow.tables import spread

CHANGED: dict[str, dict[str, Any]] = {
    "best": {"error": 0.0125, "nll": 0.25, "compression": 40.0, "seconds": {"train": 20.5, "finetune": 2.0}},
    "small": {"error": 0.5, "nll": 1.5, "compression": 900.0, "seconds": {"train": 30.0}},
    "empty": {"error": 0.9, "nll": None, "compression": None, "seconds": {"train": 1.0}},
}
VALIDATION = {"best": 0.03, "small": 0.02, "empty": 0.91}
"""On it 'small' is better than 'best', which is the best on test data."""


@pytest.fixture
def runs(finished_run: Path, tmp_path: Path) -> list[Path]:
    """Three runs with results of their own, worst first."""
    folders = []
    for name, changes in reversed(CHANGED.items()):
        folder = shutil.copytree(finished_run, tmp_path / name)
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics |= {"seconds": changes["seconds"], "validation_error": VALIDATION[name], "validation_se": 0.014}
        metrics["networks"]["pruned"] |= {key: value for key, value in changes.items() if key != "seconds"}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        folders.append(folder)
    return folders


ORDER = {
    "validation": ["small", "best", "empty"],
    "error": ["best", "small", "empty"],
    "nll": ["best", "small", "empty"],
    "compression": ["empty", "small", "best"],
    "seconds": ["empty", "best", "small"],
    "run": ["best", "empty", "small"],
}


@pytest.mark.parametrize("sort", SORTS)
def test_table(runs: list[Path], sort: str) -> None:
    code, out, err = run_cli("compare", *runs, "--sort", sort)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line[:3].strip().isdigit()]
    assert [(line[0], Path(line[1]).name) for line in lines] == [(str(k), name) for k, name in enumerate(ORDER[sort], 1)]
    row = next(line for line in lines if line[1].endswith("best"))
    layers = json.loads((runs[-1] / "metrics.json").read_text())["networks"]["pruned"]["layers"]
    sparsity = [f"{100 * (1 - layer['nonzero'] / layer['weights']):.1f}" for layer in layers]
    deployed = json.loads((runs[-1] / "metrics.json").read_text())["networks"]["pruned"]["deployed"]
    sizes = ["40.0x", "97.6", *(f"{deployed[key]:,}" for key in ("parameters", "bytes", "sparse_bytes"))]
    assert row[2:] == ["digits", "(360)", "3.00", "±", "1.40", "1.25", "0.2500", *sizes, *sparsity, "22"]
    assert any(line[1].endswith("empty") and "∞" in line for line in lines)
    assert "Note" not in out


def test_json(runs: list[Path]) -> None:
    code, out, err = run_cli("compare", *runs, "--json")
    assert (code, err) == (0, "")
    result = json.loads(out, parse_constant=pytest.fail)
    assert out.count("\n") == 1
    assert (result["notes"], result["figure"]) == ([], None)
    assert result["sort"] == "validation", "all of them have a score"
    best = result["runs"][1]
    assert (best["validation"]["value"], best["validation_se"], best["validation_size"]) == (0.03, 0.014, 100)
    assert (best["run"], best["score"]["value"], best["nll"], best["compression"]) == (str(runs[-1]), 0.0125, 0.25, 40.0)
    assert (best["data"], best["test_size"], best["seed"], best["seconds"]) == ("digits", 360, 0, 22.5)
    assert result["runs"][-1]["compression"] is None


def reseed(run: Path, seed: int, validation: int) -> None:
    """Let it be a run of another seed, and of a recipe with so many validation examples."""
    for name, old, new in (("recipe.yaml", "\nseed: 0", f"\nseed: {seed}"), ("metrics.json", '"seed": 0', f'"seed": {seed}')):
        content = (run / name).read_text()
        assert old in content
        (run / name).write_text(content.replace(old, new).replace("validation: 100", f"validation: {validation}"))


def means(*arguments: str | Path) -> list[str]:
    """Rows of means."""
    code, out, err = run_cli("compare", *arguments)
    assert (code, err) == (0, "")
    return [" ".join(line.split()) for line in out.splitlines() if " seeds of " in line]


def test_mean_of_seeds(runs: list[Path]) -> None:
    assert means(*runs) == [], "they have the same seed"
    for run, seed, validation in zip(runs, (3, 1, 2), (99, 100, 100), strict=True):
        reseed(run, seed, validation)
    (row,) = means(*runs, "--sort=seconds")
    mean = "2 seeds of 2: mean ± sd digits (360) 2.50 ± 0.71 25.62 ± 34.47 0.8750 ± 0.8839 470.0 ± 608.1 "
    assert row.startswith(mean), "'best' and 'small', the second and the third; 'empty' has another recipe"
    assert row.endswith(" 26 ± 5")
    (runs[0] / "recipe.yaml").write_text((runs[1] / "recipe.yaml").read_text())
    (row,) = means(*runs)
    assert row.startswith("3 seeds of 1: mean ± sd digits (360) 32.00 ± 51.10 47.08 ± 44.45 ∞ ∞ ")
    (runs[2] / "recipe.yaml").unlink()
    assert len(means(*runs)) == 1, "of the other two"


def test_configurations_are_named_by_what_their_runs_have_in_common(runs: list[Path]) -> None:
    folders = [run.rename(run.parent / f"same-{place}") for place, run in enumerate(runs)]
    results = read_results(folders)
    assert configurations(results) == {str(run): [result] for run, result in zip(folders, results, strict=True)}
    for seed, run in enumerate(folders):
        (run / "recipe.yaml").write_text((folders[-1] / "recipe.yaml").read_text())
        if seed:
            reseed(run, seed, 100)
    results = read_results(folders)
    assert configurations(results) == {str(runs[0].parent / "same"): results}
    apart = [run.rename(run.parent / name) for run, name in zip(folders, "abc", strict=True)]
    results = read_results(apart)
    assert configurations(results) == {str(apart[0]): results}, "they have nothing but the folder above in common"
    other = [run.rename(run.parent / name) for run, name in zip(apart, ("a-0", "a-1", "a"), strict=True)]
    (other[2] / "recipe.yaml").write_text((other[2] / "recipe.yaml").read_text().replace("threads: 1", "threads: 2"))
    results = read_results(other)
    assert configurations(results) == {str(other[0]): results[:2], str(other[2]): results[2:]}, "a run has this name"


def test_runs_of_an_earlier_version_have_a_dash(runs: list[Path]) -> None:
    metrics = json.loads((runs[-1] / "metrics.json").read_text())
    for network in metrics["networks"].values():
        del network["prior_share"], network["deployed"]
    (runs[-1] / "metrics.json").write_text(json.dumps(metrics))
    code, out, err = run_cli("compare", *runs)
    assert (code, err) == (0, "")
    row = next(line.split() for line in out.splitlines() if "best" in line)
    assert row[9:14] == ["40.0x", "–", "–", "–", "–"]
    best = json.loads(run_cli("compare", *runs, "--json", "--sort=error")[1])["runs"][0]
    assert (best["prior_share"], best["deployed"]) == (None, None)
    for run, seed in zip(runs, (3, 1, 2), strict=True):
        reseed(run, seed, 100)
    (mean,) = means(*runs)
    assert " – – – – " in mean, "a mean of some would be another's"


def test_runs_without_validation_data(runs: list[Path]) -> None:
    """They come last in the order of the validation score; where none is asked for, all are sorted by the test error."""
    metrics = json.loads((runs[1] / "metrics.json").read_text())
    assert runs[1].name == "small"
    for key in ("validation_se", "validation_size"):
        del metrics[key]
    (runs[1] / "metrics.json").write_text(json.dumps(metrics))
    found = json.loads(run_cli("compare", *runs, "--json")[1])
    assert (found["sort"], Path(found["runs"][0]["run"]).name) == ("validation", "small"), "of an earlier version"
    (runs[1] / "metrics.json").write_text(json.dumps(metrics | {"validation_error": None}))
    for arguments, sort, order in (
        ((), "error", ["best", "small", "empty"]),
        (["--sort=validation"], "validation", ["best", "empty", "small"]),
    ):
        found = json.loads(run_cli("compare", *runs, *arguments, "--json")[1])
        assert [Path(each["run"]).name for each in found["runs"]] == order
        (note,) = found["notes"]
        assert (found["sort"], str(runs[1]) in note, str(runs[0]) in note) == (sort, True, False)
        code, out, _ = run_cli("compare", *runs, *arguments)
        assert (code, f"Note: {note}" in out, f"sorted by {sort}" in out) == (0, True, True)
        assert [line.split()[4] for line in out.splitlines() if line.split()[1:2] == [str(runs[1])]] == ["–"]
    assert json.loads(run_cli("compare", *runs, "--sort=run", "--json")[1])["notes"] == []
    metrics = json.loads((runs[0] / "metrics.json").read_text())
    (runs[0] / "metrics.json").write_text(json.dumps(metrics | {"validation_size": 99}))
    (note,) = differences(read_results([runs[0], runs[2]]))
    assert "99 validation examples" in note


def test_other_data_are_pointed_out(runs: list[Path]) -> None:
    for folder, changes in zip(runs, ({"test_size": 100}, {"data": "mnist", "test_size": 10_000}), strict=False):
        metrics = json.loads((folder / "metrics.json").read_text())
        (folder / "metrics.json").write_text(json.dumps(metrics | changes))
    assert differences(read_results(runs[2:])) == []
    for some in (runs, [runs[0], runs[2]], [runs[1], runs[2]]):
        (note,) = differences(in_order(read_results(some))[1])
        code, out, _ = run_cli("compare", *some)
        assert code == 0
        assert f"Note: {note}" in out
        for folder in some:
            assert str(folder) in note
        assert "digits, 360 test examples" in note
        assert ("digits, 100 test examples" in note) == (runs[0] in some)
        assert ("mnist, 10000 test examples" in note) == (runs[1] in some)
        assert json.loads(run_cli("compare", *some, "--json")[1])["notes"] == [note]
    old = json.loads((runs[2] / "metrics.json").read_text())
    del old["test_size"]
    (runs[2] / "metrics.json").write_text(json.dumps(old))
    assert "unknown number of test examples" in differences(read_results([runs[0], runs[2]]))[0]


def test_figure() -> None:
    seeds = [(4.0, Score(ERROR, 0.02)), (6.0, Score(ERROR, 0.03))]
    networks = {"a": seeds, "b": [(300.0, Score(ERROR, 0.05))], "c": [(math.inf, Score(ERROR, 0.9))]}
    figure = error_against_compression(networks)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert "compression" in axes.get_xlabel()
    assert axes.get_ylabel() == "test error, %"
    points = [line.get_xydata().tolist() for line in axes.lines]
    assert points[0] == [[4.0, 2.0], [6.0, 3.0]]
    assert points[1] == [[5.0, 2.5]], "the mean over the seeds"
    assert points[2:] == [[[300.0, 5.0]], [[600.0, 90.0]]], "what has no weight is at the right edge"
    assert axes.lines[0].get_color() == axes.lines[1].get_color()
    assert len({line.get_color() for line in axes.lines}) == 3, "one colour per configuration"
    assert [text.get_text() for text in axes.texts] == ["a (2 seeds)", "b", "c (no weight left)"]
    assert [list(text.xy) for text in axes.texts] == [points[place][0] for place in (1, 2, 3)]
    figure.draw_without_rendering()
    ticks = {label.get_text() for label in axes.get_xticklabels()}
    assert {"10", "30", "100"} <= ticks
    endless = {"a": [(4.0, Score(RMSE, math.inf))], "b": [(5.0, Score(RMSE, 2.0))]}
    axes = error_against_compression(endless).axes[0]
    assert [line.get_ydata()[0] for line in axes.lines] == [2.4, 2.0]
    assert {text.get_text() for text in axes.texts} == {"a (error not finite)", "b"}
    close = {"a": [(4.0, Score(RMSE, 0.02))], "b": [(5.0, Score(RMSE, 0.03))]}
    assert error_against_compression(close).axes[0].get_xscale() == "linear"


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_figure_file(runs: list[Path], tmp_path: Path, suffix: str, magic: bytes) -> None:
    target = tmp_path / f"figure{suffix}"
    code, out, err = run_cli("compare", *runs, "--out", target)
    assert (code, err) == (0, "")
    assert str(target) in out
    assert target.read_bytes().startswith(magic)
    before = contents(tmp_path)
    refused("compare", *runs, "--out", target, quoted=[str(target), "--out"])
    assert contents(tmp_path) == before


def test_refused(runs: list[Path], tmp_path: Path) -> None:
    refused("compare", quoted=["runs"])
    refused("compare", *runs, "--sort=size", quoted=["size", "error"])
    refused("compare", *runs, "--out", tmp_path / "figure.exe", quoted=["figure.exe", ".png"])
    refused("compare", *runs, "--out", tmp_path / "none" / "figure.png", quoted=[str(tmp_path / "none" / "figure.png")])
    refused("compare", runs[0].parent, quoted=[f"{runs[0].parent} is no run", f"{runs[0].parent}/*"])
    refused("compare", *runs, tmp_path / "none", quoted=[f"run (='{tmp_path / 'none'}')"])
    refused("compare", runs[0], runs[1], runs[0], quoted=[f"run (='{runs[0]}')"])
    (tmp_path / "link").symlink_to(runs[0])
    refused("compare", runs[0], tmp_path / "link", quoted=[f"run (='{tmp_path / 'link'}')", str(runs[0])])
    metrics = runs[0] / "metrics.json"
    good = json.loads(metrics.read_text())
    for bad in ("{", "[]", "{}", json.dumps({**good, "networks": {}}), json.dumps({**good, "seconds": 3})):
        metrics.write_text(bad)
        refused("compare", *runs, quoted=[str(metrics)])
    metrics.unlink()
    refused("compare", *runs, quoted=[str(runs[0]), "metrics.json", "--resume"])


def test_a_mean_of_large_scores_has_the_digits_of_one_score() -> None:
    assert spread([12645.1, 12784.9], None) == "1.272e+04 ± 99"
    assert spread([0.5, 0.75], 2) == "0.62 ± 0.18"
