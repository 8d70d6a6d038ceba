"""Killed at any moment and resumed, a run ends bit for bit where an uninterrupted one does."""

from __future__ import annotations

import json
import random
import shutil
import time
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from support import SMALL, contents, refused, run_cli
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, InputError, PointEstimate, VariationalDropout, fit
from pyro_vd.guides import WeightGuide

EPOCHS = 12
LONGER = (*SMALL, *(f"--{phase}.epochs={EPOCHS}" for phase in ("pretrain", "train", "finetune")), "--quiet")
PHASES = ("pretrain", "train", "finetune")


def log_of(run: Path) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl`` but for the time they took."""
    path = run / "metrics.jsonl"
    lines = lines_of(path) if path.exists() else []
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def results_of(run: Path) -> dict[str, Any]:
    """The measurements in ``metrics.json``, without times."""
    metrics = json.loads((run / "metrics.json").read_text())
    return {key: metrics[key] for key in ("networks", "threshold", "validation_error", "skipped")}


def kill_in(phase: str, run: Path, rng: random.Random) -> None:
    """Start or resume the run in a process of its own, and kill it at a random moment of a phase."""
    epochs = rng.randint(1, EPOCHS // 2)
    process = get_context("fork").Process(target=run_cli, args=("train", "digits", *LONGER, "--out", run, "--resume"))
    process.start()
    while sum(line["phase"] == phase for line in log_of(run)) < epochs:
        assert process.is_alive(), "it ended before it could be killed"
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.02))
    process.kill()
    process.join()
    assert process.exitcode == -9
    lines = [line["phase"] for line in log_of(run)]
    assert lines[-1] == phase
    assert epochs <= lines.count(phase) < EPOCHS, "it was killed within the phase"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # a process with threads: they are idle
def test_killed_in_every_phase(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, _, err = run_cli("train", "digits", *LONGER, "--out", whole)
    assert code == 0, err
    for phase in PHASES:
        kill_in(phase, killed, random.Random(phase))
    refused("evaluate", killed, quoted=[str(killed), "--resume"])
    refused("prune", killed, "--threshold=1", quoted=[str(killed), "--resume"])
    (killed / ".checkpoint-finetune.pt.abcdefgh.pyro_vd-tmp").write_bytes(b"half a checkpo")
    code, _, err = run_cli("train", "digits", *LONGER, "--out", killed, "--resume")
    assert code == 0, err
    assert [line["epoch"] for line in log_of(killed)] == [*range(1, EPOCHS + 1)] * 3
    assert log_of(killed) == log_of(whole)
    assert results_of(killed) == results_of(whole)
    for name in ("posterior.safetensors", "pruned.safetensors", "recipe.yaml"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    assert contents(killed).keys() == contents(whole).keys(), "no temporary file is left"


def test_resume_of_a_finished_run_changes_nothing(finished_run: Path) -> None:
    before = contents(finished_run)
    code, out, err = run_cli("train", "digits", *SMALL, "--out", finished_run, "--resume", "--json", "--quiet")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert result.pop("run") == str(finished_run)
    assert result == json.loads((finished_run / "metrics.json").read_text())
    assert contents(finished_run) == before


FIRST = ["recipe.yaml", "metrics.jsonl", "checkpoint-pretrain.pt"]


@pytest.mark.parametrize(
    "left",
    [
        [],
        [".recipe.yaml.abcdefgh.pyro_vd-tmp"],
        FIRST[:1],
        FIRST,
        [*FIRST, "checkpoint-train.pt"],
        [*FIRST, "checkpoint-train.pt", "posterior.safetensors"],
        [*FIRST, "checkpoint-train.pt", "checkpoint-finetune.pt", "pruned.safetensors"],
    ],
)
def test_killed_between_phases(finished_run: Path, tmp_path: Path, left: list[str]) -> None:
    """Whatever of the files is there already, the run ends as it would have."""
    run = tmp_path / "run"
    run.mkdir()
    for name in left:
        shutil.copy(finished_run / (name if name[0] != "." else "recipe.yaml"), run / name)
    code, _, err = run_cli("train", "digits", *SMALL, "--out", run, "--resume", "--quiet")
    assert code == 0, err
    assert (log_of(run), results_of(run)) == (log_of(finished_run), results_of(finished_run))
    assert contents(run).keys() == contents(finished_run).keys()
    assert (run / "pruned.safetensors").read_bytes() == (finished_run / "pruned.safetensors").read_bytes()


@pytest.mark.parametrize("phase", PHASES)
def test_spoilt_checkpoint(finished_run: Path, tmp_path: Path, phase: str) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "metrics.json").unlink()
    path = run / f"checkpoint-{phase}.pt"
    good, state = path.read_bytes(), torch.load(path, weights_only=True)
    other = run / f"checkpoint-{PHASES[PHASES.index(phase) - 1]}.pt"
    for spoilt in (good[:-100], b"garbage", other.read_bytes(), *_tampered(state, tmp_path / "spoilt.pt")):
        path.write_bytes(spoilt)
        before = contents(run)
        refused("train", "digits", *SMALL, "--out", run, "--resume", "--quiet", quoted=[str(path)])
        changed = {name for name, digest in contents(run).items() if before.get(name) != digest}
        assert changed <= {"metrics.jsonl", "posterior.safetensors"}, "earlier phases are written again, as they were"
    path.write_bytes(good)
    assert run_cli("train", "digits", *SMALL, "--out", run, "--resume", "--quiet")[0] == 0
    assert results_of(run) == results_of(finished_run)


def _tampered(state: dict[str, Any], path: Path) -> list[bytes]:
    module = state["module"]
    some = next(iter(module))
    spoilt = []
    for changed in (
        {"module": {**module, some: torch.zeros(3)}},
        {"module": {**module, some: torch.full_like(module[some], torch.nan)}},
        {"history": [{"epoch": 1}]},
        {"settings": None},
        {"optimizer": {"state": {}, "param_groups": []}},
        {"shuffle": torch.zeros(2)},
    ):
        torch.save({**state, **changed}, path)
        spoilt.append(path.read_bytes())
    return spoilt


class Crash(nn.Module):
    """Passes its input on, and raises at one training step."""

    def __init__(self, step: int | None) -> None:
        super().__init__()
        self.step, self.taken = step, 0

    def forward(self, x: Tensor) -> Tensor:
        self.taken += self.training
        if self.training and self.taken == self.step:
            raise KeyboardInterrupt
        return x


def pair(seed: int, guide: type[WeightGuide], crash: int | None = None) -> tuple[BayesianNetwork, WeightGuide]:
    torch.manual_seed(seed)
    net = nn.Sequential(Crash(crash), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
    model = BayesianNetwork(net)
    return model, guide(model)


DATA = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 3
OPTIONS: dict[str, Any] = {"epochs": 5, "batch_size": 16, "lr": 0.01, "validation": DATA, "progress": False}


def state_of(model: BayesianNetwork, guide: WeightGuide) -> dict[str, list[Any]]:
    return {name: t.tolist() for module in (model, guide) for name, t in module.state_dict(prefix=str(type(module))).items()}


@pytest.mark.parametrize("guide", [VariationalDropout, PointEstimate])
@pytest.mark.parametrize("step", [5, 10, 20])
def test_fit_interrupted_in_an_epoch(tmp_path: Path, guide: type[WeightGuide], step: int) -> None:
    """Of 20 steps, 4 an epoch. The second half begins from other weights and another seed: all comes from the checkpoint."""
    files: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "log": tmp_path / "log", "resume": True}
    whole = pair(1, guide)
    expected = fit(*whole, DATA, **OPTIONS)
    with pytest.raises(KeyboardInterrupt):
        fit(*pair(1, guide, step), DATA, **OPTIONS, **files)
    assert len(lines_of(tmp_path / "log")) == (step - 1) // 4
    resumed = pair(2, guide)
    result = fit(*resumed, DATA, **OPTIONS, **files)
    assert state_of(*resumed) == state_of(*whole)
    assert any("running_mean" in name for name in state_of(*whole))
    assert [replace(r, seconds=0) for r in result.history] == [replace(r, seconds=0) for r in expected.history]
    assert lines_of(tmp_path / "log") == [json.loads(json.dumps(asdict(record))) for record in result.history]


@pytest.mark.parametrize(("key", "value"), [("epochs", 6), ("batch_size", 17), ("lr", 0.02), ("phase", "x")])
def test_fit_does_not_resume_another_training(tmp_path: Path, key: str, value: Any) -> None:
    path = tmp_path / "c.pt"
    fit(*pair(1, VariationalDropout), DATA, **OPTIONS, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(InputError, match=rf"c\.pt is of another training: {key} .*, now {value!r}"):
        fit(*pair(1, VariationalDropout), DATA, **{**OPTIONS, key: value}, checkpoint=path, resume=True)
    assert path.read_bytes() == before
    fit(*pair(1, VariationalDropout), DATA, **{**OPTIONS, key: value}, checkpoint=path)
    assert path.read_bytes() != before, "without resume it starts anew"
