"""Regressions through every command: the built-in recipe, data of one's own, and what is refused."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import contents, refused, run_cli, write_npz

from pyro_vd import load_pruned, load_run
from pyro_vd._core.storage import as_json
from pyro_vd.evaluation.score import score_of
from pyro_vd.models import Normal
from pyro_vd.workflow.run_folder import read_metrics
from pyro_vd.workflow.tables import print_networks

SHORT = ("--pretrain.epochs=2", "--train.epochs=3", "--train.kl_weight.end=1", "--device=cpu", "--quiet")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "diabetes"
    code, out, err = run_cli("train", "diabetes", *SHORT, "--data.validation=50", "--train.frames=1", "--out", folder)
    assert code == 0, err
    assert all(word in out for word in ("RMSE", "NLL", "in 50 % of 89", "in 90 % of 89", "ridge", "pretrained", "pruned"))
    return folder


def json_of(*arguments: str | Path) -> Any:
    code, out, err = run_cli(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


def test_a_run_holds_all_measures(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    assert [*metrics["networks"]] == ["ridge", "pretrained", "posterior mean", "Monte Carlo", "pruned"]
    for network in metrics["networks"].values():
        assert {"rmse", "rmse_se", "nll", "coverage_50", "coverage_90", "examples"} < network.keys()
    assert 40 < metrics["networks"]["ridge"]["rmse"] < 70, "in the target's own units"
    assert "validation_error" not in metrics
    loaded = load_run(run)
    line = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    net = load_pruned(run / "pruned.safetensors")
    wanted = score_of(net, loaded.validation, loaded.model.likelihood).value
    assert metrics["validation_rmse"] == pytest.approx(wanted) == pytest.approx(line["score"])
    assert line["score_name"] == "rmse"
    assert loaded.model.likelihood.scale != Normal().scale


def test_every_command_takes_it(run: Path, tmp_path: Path) -> None:
    trained = json.loads((run / "metrics.json").read_text())["networks"]
    for source in (run, run / "pruned.safetensors"):
        found = json_of("evaluate", source)["networks"]
        for key, value in found.items():
            same = pytest.approx(value["nll"], rel=1e-6), pytest.approx(value["rmse"], rel=1e-6)
            assert (trained[key]["nll"], trained[key]["rmse"]) == same, key
    assert json_of("prune", run, "--threshold=1", "--out", tmp_path / "p.safetensors")["validation_rmse"] > 0
    assert "validation RMSE" in run_cli("prune", run, "--max-error-rise=0.5", "--out", tmp_path / "q.safetensors")[1]
    assert json_of("export", run, "--format=sparse", "--out", tmp_path / "s")["networks"]["sparse"]["rmse"] == pytest.approx(
        trained["pruned"]["rmse"], rel=1e-4
    )
    assert "validation RMSE" in run_cli("export", run, "--format=onnx", "--out", tmp_path / "n.onnx")[1]
    assert json_of("compare", run, "--out", tmp_path / "c.png")["runs"][0]["score"]["name"] == "rmse"
    assert "RMSE" in run_cli("compare", run)[1]
    assert json_of("report", run, "--out", tmp_path / "r.html")["bytes"] > 1e6
    assert json_of("inspect", run)["layers"]
    assert json_of("animate", run, "--max-frames=2")["recorded"] == 4


def test_an_infinite_rmse_is_read_again(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has null for it, and for its standard error."""
    shutil.copytree(run, folder := tmp_path / "run")
    metrics = json.loads((run / "metrics.json").read_text())
    for name in ("ridge", "pruned"):
        metrics["networks"][name] |= {"rmse": math.inf, "rmse_se": math.nan, "nll": math.inf}
    (folder / "metrics.json").write_text(as_json(metrics))
    assert load_run(folder).recipe == load_run(run).recipe
    found = json_of("compare", folder, run, "--sort=error", "--out", tmp_path / "c.png")["runs"]
    assert [each["run"] for each in found] == [str(run), str(folder)], "the infinite one is the worst"
    assert [each["score"]["name"] for each in found] == ["rmse", "rmse"]
    assert found[1]["score"]["value"] is None
    for command in (
        ("compare", folder),
        ("train", "diabetes", *SHORT, "--data.validation=50", "--train.frames=1", "--resume", "--out", folder),
    ):
        assert run_cli(*command)[0] == 0, command
    assert read_metrics(folder)["networks"]["pruned"]["rmse"] == math.inf
    print_networks("as evaluate does", json.loads((folder / "metrics.json").read_text())["networks"])
    assert capsys.readouterr().out.count("∞") >= 4


@pytest.mark.parametrize(("likelihood", "key"), [("normal", "rmse"), ("poisson", "rmse"), ("bernoulli", "error")])
def test_own_data(tmp_path: Path, likelihood: str, key: str) -> None:
    y = np.random.default_rng(0).integers(0, 2, (30, 2)) + (0.5 if likelihood == "normal" else 0)
    write_npz(tmp_path / "a.npz", y_train=y, y_test=y[:9])
    keys = (f"--data.name={tmp_path / 'a.npz'}", "--model.sizes=[4,5,2]", f"--model.likelihood={likelihood}")
    found = json_of("train", "diabetes", *SHORT, *keys, "--out", tmp_path / "out")
    assert found["networks"]["pruned"][key] > 0
    assert ("ridge" in found["networks"]) == (likelihood == "normal")
    assert json_of("evaluate", tmp_path / "out")["networks"]["pruned"][key] == found["networks"]["pruned"][key]


@pytest.mark.parametrize(
    ("likelihood", "outputs", "args", "key"),
    [
        ("ordered-logistic", 1, {"classes": 4}, "error"),
        ("student-t", 1, {"df": 4.0}, "rmse"),
        ("heteroscedastic-normal", 2, {}, "rmse"),
        ("negative-binomial", 1, {}, "rmse"),
        ("mixture-of-normals", 6, {"components": 2}, "rmse"),
        ("categorical", 4, {"label_smoothing": 0.1, "weight": [1.0, 2.0, 1.0, 0.5]}, "error"),
    ],
)
def test_every_other_likelihood(tmp_path: Path, likelihood: str, outputs: int, args: dict[str, Any], key: str) -> None:
    y = np.random.default_rng(0).integers(0, 4, 30)
    write_npz(tmp_path / "a.npz", y_train=y, y_test=y[:9])
    keys = (f"--data.name={tmp_path / 'a.npz'}", f"--model.sizes=[4,5,{outputs}]", f"--model.likelihood={likelihood}")
    arguments = f"--model.likelihood_args={json.dumps(args)}"
    found = json_of("train", "diabetes", *SHORT, *keys, arguments, "--out", tmp_path / "out")
    assert found["networks"]["pruned"][key] > 0
    read = json_of("evaluate", tmp_path / "out")["networks"]["pruned"]
    assert read[key] == pytest.approx(found["networks"]["pruned"][key], rel=1e-6)


@pytest.mark.parametrize(
    ("y", "keys", "quoted"),
    [
        (np.linspace(0, 1, 30), ["--model.likelihood=categorical"], ["float64", "model.likelihood"]),
        (np.linspace(0, 1, 30), ["--model.likelihood=poisson"], ["observation 0.03"]),
        (np.arange(30), ["--model.likelihood=bernoulli"], ["observation 2", "example 2", "0 or 1"]),
        (np.linspace(0, 1, 30), ["--model.sizes=[4,3]"], ["(30,)", "(n, 3)"]),
        (np.full(30, 2.5), [], ["2.5"]),
        (np.full(30, np.inf), [], ["30 NaN", "observations"]),
        (np.arange(30), ["--model.likelihood=cauchy"], ["cauchy"]),
        (np.arange(30), ["--model.likelihood=mixture-of-normals"], ["likelihood_args", "components"]),
        (np.arange(30), ["--model.likelihood_args={df: 3}"], ["likelihood_args", "df"]),
        (np.arange(30), ["--model.likelihood_args={scale: -1}"], ["scale", "-1"]),
    ],
)
def test_wrong_combinations(tmp_path: Path, y: np.ndarray, keys: list[str], quoted: list[str]) -> None:
    write_npz(tmp_path / "a.npz", y_train=y, y_test=y[:9])
    before = contents(tmp_path)
    data = (f"--data.name={tmp_path / 'a.npz'}", "--model.sizes=[4,1]", *keys)
    refused("train", "diabetes", *SHORT, *data, "--out", tmp_path / "out", quoted=quoted)
    assert contents(tmp_path) == before
