"""``pyro-vd sweep``: every combination, in processes; a failing run stops no other, and what was stopped goes on."""

from __future__ import annotations

import errno
import fcntl
import json
import math
import multiprocessing
import signal
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support import ENVIRONMENT, SMALL, command, contents, refused, refuses, run_cli

from pyro_vd.workflow.grid import combinations, name_of, read_grid
from pyro_vd.workflow.plans import Grid
from pyro_vd.workflow.recipe_files import read_recipe, recipe_with
from pyro_vd.workflow.settings import Setting, SweepRun, make_setting
from pyro_vd.workflow.shared_sweep import SharedSweep
from pyro_vd.workflow.study import Study
from pyro_vd.workflow.sweep import run_sweep

LONGER = (*SMALL, "--train.epochs=50")


def sweep(out: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, result and standard error of a sweep of digits in this process."""
    code, text, err = run_cli("sweep", "digits", *arguments, "--out", out, "--quiet", "--json")
    return code, json.loads(text, parse_constant=pytest.fail), err


def files_of(run: Path) -> dict[str, str]:
    """All but those that hold times."""
    return {name: digest for name, digest in contents(run).items() if name.endswith((".yaml", ".safetensors"))}


def measured(run: Path) -> dict[str, Any]:
    metrics = json.loads((run / "metrics.json").read_text())
    return {key: metrics[key] for key in ("networks", "threshold", "validation_error", "skipped", "seed")}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Folder of a sweep of two learning rates, at one of which training fails, and two seeds; and what it printed."""
    out = tmp_path_factory.mktemp("sweep") / "out"
    code, result, err = sweep(out, "--grid", "train.lr=0.003,1e30", "--seeds=2", "--jobs=2", *SMALL)
    assert (code, err) == (1, "")
    return out, result


GOOD, BAD = ([f"train.lr={lr},seed={seed}" for seed in (0, 1)] for lr in ("0.003", "1e30"))


@pytest.mark.slow
def test_runs(swept: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    out, result = swept
    assert {path.name for path in out.iterdir()} == {*GOOD, *BAD, ".sweep"}
    assert result["out"] == str(out)
    (setting,) = result["settings"]
    assert (setting["setting"], setting["runs"], setting["seeds"]) == ("train.lr=0.003", GOOD, [0, 1])
    scores = [json.loads((out / name / "metrics.json").read_text())["validation_error"] for name in GOOD]
    assert setting["score"]["value"] == pytest.approx(statistics.mean(scores))
    assert setting["se"] == pytest.approx(statistics.stdev(scores) / math.sqrt(2))
    best = result["best"]
    assert (best["setting"], [run["run"] for run in best["runs"]]) == ("train.lr=0.003", GOOD)
    networks = [json.loads((out / name / "metrics.json").read_text())["networks"] for name in GOOD]
    assert best["test"]["score"]["value"] == pytest.approx(statistics.mean(each["pruned"]["error"] for each in networks))
    low, high = best["test"]["interval"]
    assert 0 < low < best["test"]["score"]["value"] < high < 1
    alone = tmp_path / "alone"
    assert run_cli("train", "digits", *SMALL, "--train.lr=0.003", "--seed=1", "--out", alone, "--quiet")[0] == 0
    assert measured(out / GOOD[1]) == measured(alone)
    assert files_of(out / GOOD[1]) == files_of(alone)
    assert measured(out / GOOD[0])["seed"] == 0


@pytest.mark.slow
def test_failed_runs_are_told(swept: tuple[Path, dict[str, Any]]) -> None:
    out, result = swept
    assert list(result["failed"]) == BAD
    for message in result["failed"].values():
        assert "not finite" in message
    assert not (out / BAD[0] / "metrics.json").exists()


@pytest.mark.slow
def test_again(swept: tuple[Path, dict[str, Any]]) -> None:
    """Finished runs are not touched, failed ones tried again; a new value is added; the table comes last."""
    out, _ = swept
    before = {name: contents(out / name) for name in GOOD}
    times = {path: path.stat().st_mtime_ns for name in GOOD for path in (out / name).rglob("*")}
    grid = ("--grid", "train.lr=0.003,1e30,0.001", "seed=0,1", "--jobs=1")
    code, text, err = run_cli("sweep", "digits", *grid, *SMALL, "--out", out)
    assert code == 1
    assert {name: contents(out / name) for name in GOOD} == before
    assert {path: path.stat().st_mtime_ns for path in times} == times
    ranking, _, after = text.partition("\nbest: ")
    lines = ranking.splitlines()
    scores = {line.split()[1]: float(line.split()[2]) for line in lines if line[:3].strip().isdigit()}
    assert scores.keys() == {"train.lr=0.003", "train.lr=0.001"}
    assert list(scores.values()) == sorted(scores.values())
    assert ("failed, 2 of 6" in ranking, "test error" in ranking) == (True, False), (
        "test numbers come at the end, of the best alone"
    )
    best = next(iter(scores))
    assert after.startswith(f"{best}, ")
    assert after.count("test error") == 2
    assert {line.split()[1] for line in after.splitlines() if line[:3].strip().isdigit()} == {
        f"{best},seed=0",
        f"{best},seed=1",
    }
    for name in BAD:
        (row,) = (line for line in lines if line.strip().startswith(name))
        assert "not finite" in row
        assert f"{name}: failed: " in err
    assert "train.lr=0.001,seed=1: finished" in err
    assert "6/6" in err, "the bar is full"
    refused("sweep", "digits", *grid, *SMALL, "--train.epochs=3", "--out", out, quoted=["train.epochs", "3"])
    only, _, err = run_cli("sweep", "digits", "--grid", "train.lr=0.003", "seed=0,1", *SMALL, "--out", out, "--quiet")
    assert (only, err) == (0, "")


def start(out: Path) -> subprocess.Popen[str]:
    """A sweep in a process of its own, when its runs have begun."""
    before = {path: path.read_bytes() for path in out.glob("*/metrics.jsonl")}
    line = command("sweep", "digits", "--seeds=2", "--jobs=2", *LONGER, "--out", out, "--quiet")
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a process in the background may ignore it
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, preexec_fn=heed
    )
    while sum(path.read_bytes() != before.get(path) for path in out.glob("*/metrics.jsonl")) < 2:
        assert process.poll() is None, process.stderr
        time.sleep(0.01)
    return process


@pytest.mark.slow
def test_stopped_and_resumed(tmp_path: Path) -> None:
    """First by Ctrl-C, then by kill -9. Either way no process is left: the pipes that all of them hold are closed."""
    out = tmp_path / "out"
    process = start(out)
    process.send_signal(signal.SIGINT)
    text, err = process.communicate(timeout=60)
    assert (process.returncode, text) == (130, "")
    assert err.startswith("interrupted; the same command goes on")
    assert err.count("\n") == 1
    assert not list(out.rglob("*.pyro_vd-tmp")), "a worker cleans up before it ends"
    process = start(out)
    process.kill()
    text, err = process.communicate(timeout=60)
    assert (process.returncode, text) == (-signal.SIGKILL, "")
    assert len(list(out.glob("*/metrics.json"))) < 2, "it was stopped before its end"
    code, result, _ = sweep(out, "--seeds=2", *LONGER)
    assert code == 0
    assert result["settings"][0]["seeds"] == [0, 1]
    alone = tmp_path / "alone"
    assert run_cli("train", "digits", *LONGER, "--seed=0", "--out", alone, "--quiet")[0] == 0
    assert measured(out / "seed=0") == measured(alone)
    assert files_of(out / "seed=0") == files_of(alone)


@pytest.mark.slow
def test_a_killed_worker_is_told(tmp_path: Path) -> None:
    """As the system does it where memory is short: the run is taken up again once. The run after it is carried out."""
    epochs = {"0": "100000", "1": "2"}  # so many that it is killed, not finished, on any machine

    def make(point: Mapping[str, str], seeds: Sequence[str]) -> Setting:
        content = read_recipe("digits") | {"pretrain": {"epochs": 0}, "finetune": {"epochs": 0}}
        return make_setting(
            tmp_path, lambda each: recipe_with(content, each, {"train.epochs": epochs[each["seed"]]}), point, seeds
        )

    sweep = SharedSweep(Study(tmp_path / ".sweep"), Grid([{}], list(epochs)), make)
    ended: list[tuple[str, str]] = []

    def kill_first(running: Mapping[str, SweepRun]) -> None:
        for process in multiprocessing.active_children() if "seed=0" in running else []:
            process.kill()

    run_sweep(sweep, 1, False, kill_first, lambda *end: ended.append(end))
    assert ended[0] == ("seed=0", "its process was ended by SIGKILL; it is taken up again")
    assert sorted(ended[1:]) == [("seed=0", "failed: its process was ended by SIGKILL, 2 times"), ("seed=1", "finished")]
    assert sweep.failed() == {"seed=0": "its process was ended by SIGKILL, 2 times"}
    assert [(tmp_path / f"seed={seed}" / "metrics.json").exists() for seed in epochs] == [False, True]


def test_grid() -> None:
    grid = ["train.lr=0.1, 1e-3", "model.sizes=[64,30,10],[64, 5, 10]", "data.dir=null"]
    points = combinations(read_grid(grid))
    assert [point["train.lr"] for point in points] == ["0.1", "0.1", "1e-3", "1e-3"]
    assert [point["model.sizes"] for point in points] == ["[64,30,10]", "[64, 5, 10]"] * 2
    assert name_of(points[1]) == "train.lr=0.1,model.sizes=64_5_10,data.dir=null"
    assert name_of({"train.lr": "1e-3", "data.name": "a/b c.npz"}) == "train.lr=1e-3,data.name=a_b_c.npz"
    with refuses("grid", f"data.name={'x' * 300}"):
        name_of({"data.name": "x" * 300})


@pytest.mark.parametrize(
    ("arguments", "quoted"),
    [
        ([], ["--grid", "--seeds"]),
        (["--grid", "train.lr"], ["grid (='train.lr')", "key=value"]),
        (["--grid", "train.lr=0.1,"], ["grid (='train.lr=0.1,')"]),
        (["--grid", "lr=0.1,0.2"], ["'lr'", "train.lr"]),
        (["--grid", "out=a,b"], ["grid (='out=a,b')", "'out'"]),
        (["--grid", "train.learning=0.1,0.2"], ["train.learning"]),
        (["--grid", "train.lr=0.1,-2"], ["train.lr (=-2.0)"]),
        (["--grid", "train.lr=0.1,fast"], ["train.lr (=fast)"]),
        (["--grid", "seed=1,2", "seed=3"], ["grid (='seed=3')"]),
        (["--grid", "seed=1,2,1"], ["grid (='seed=1,2,1')"]),
        (["--grid", "seed=1,2", "--seeds=2"], ["--seeds", "--grid seed"]),
        (["--seeds=2", "--trials=3"], ["trials (=3)", "--search"]),
        (["--seeds=2", "--sampler=tpe"], ["sampler (=tpe)", "--search"]),
        (["--search", "train.lr=0.1..1", "--grid", "train.epochs=1,2"], ["'train.epochs'", "--search train.epochs="]),
        (["--search", "train.lr=0.1..1", "--trials=0"], ["trials (=0)"]),
        (["--search", "train.lr=0.1..1", "--sampler=best"], ["sampler (=best)", "random"]),
        (["--search", "train.lr=-1..1"], ["train.lr (=-1.0)"]),
        (["--search", "train.lr=0.1,0.2", "train.epochs=1..20", "train.batch_size=0..2"], ["train.batch_size (=0)"]),
        (["--grid", "data.validation=100,200"], ["data.validation=100,200", "cannot be compared", "--data.validation"]),
        (["--grid", "data.name=digits,diabetes"], ["data.name=digits,diabetes", "cannot be compared"]),
        (["--grid", "data={name: digits},{name: diabetes}"], ["cannot be compared"]),
        (["--grid", "data.validation=0"], ["data.validation (=0)", "--data.validation 0.1"]),
        (["--seeds=2", "--best=small"], ["best (=small)", "sparse"]),
        (["--grid", "train.lr=0.1,1e-1"], ["'train.lr=1e-1'", "'train.lr=0.1'"]),
        (["--seeds=0"], ["seeds (=0)"]),
        (["--seeds=2", "--jobs=0"], ["jobs (=0)"]),
    ],
)
def test_refused_before_anything_starts(tmp_path: Path, arguments: list[str], quoted: list[str]) -> None:
    refused("sweep", "digits", *arguments, *SMALL, "--out", tmp_path / "out", quoted=quoted)
    assert not (tmp_path / "out").exists()


def test_a_recipe_whose_sizes_come_from_the_data(tmp_path: Path) -> None:
    """The second command finds the runs of the first one, whose recipes hold the numbers."""
    rows = [f"{x},{x * x % 7},{2 * x}" for x in range(60)]
    (tmp_path / "mine.csv").write_text("\n".join(["a,b,price", *rows]))
    data = (f"--data.name={tmp_path / 'mine.csv'}", "--data.target=price", "--train.epochs=2", "--train.kl_weight.end=1")
    line = ("sweep", "tabular", "--grid", "train.lr=0.001,0.002", *data, "--pretrain.epochs=1", "--finetune.epochs=0")
    first, second = (run_cli(*line, "--out", tmp_path / "out", "--quiet", "--json") for _ in range(2))
    assert (first[0], second[0], second[1]) == (0, 0, first[1])


def test_refused_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is what such a file system gives; a sweep would train runs twice there."""

    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    refused("sweep", "digits", "--seeds=2", *SMALL, "--out", tmp_path / "out", quoted=["no locks", str(tmp_path / "out")])
    assert not list(tmp_path.glob("out/seed*"))


def test_refused_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(
        "sweep", "digits", "--seeds=2", *SMALL, "--out", tmp_path / "file", quoted=[f"output folder (='{tmp_path / 'file'}')"]
    )
    (tmp_path / "seed=1").mkdir()
    (tmp_path / "seed=1" / "mine").write_text("mine")
    refused("sweep", "digits", "--seeds=2", *SMALL, "--out", tmp_path, quoted=[str(tmp_path / "seed=1"), "recipe.yaml"])
    assert set(contents(tmp_path)) == {"file", "seed=1/mine"}
    refused("sweep", quoted=["recipe", "digits"])
    refused("sweep", "nosuch", "--seeds=2", quoted=["nosuch"])
