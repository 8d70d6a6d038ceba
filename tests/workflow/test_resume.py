"""Killed at any moment and resumed, a run ends bit for bit where an uninterrupted one does."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
from support import SMALL, contents, refused, run_cli

EPOCHS = 12
LONGER = (*SMALL, *(f"--{phase}.epochs={EPOCHS}" for phase in ("pretrain", "train", "finetune")))
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


def resume(run: Path, keys: Sequence[str]) -> None:
    code, _, err = run_cli("train", "digits", *keys, "--out", run, "--resume", "--quiet")
    assert code == 0, err


def kill_in(phase: str, run: Path, rng: random.Random) -> None:
    """Start or resume the run in a process of its own, and kill it at a random moment of a phase."""
    epochs = rng.randint(1, EPOCHS // 2)
    process = get_context("spawn").Process(target=resume, args=(run, LONGER))
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


@pytest.mark.slow
def test_killed_in_every_phase(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    resume(whole, LONGER)
    for phase in PHASES:
        kill_in(phase, killed, random.Random(phase))
    refused("evaluate", killed, quoted=[str(killed), "--resume"])
    refused("prune", killed, "--threshold=1", quoted=[str(killed), "--resume"])
    (killed / ".checkpoint-finetune.pt.abcdefgh.pyro_vd-tmp").write_bytes(b"half a checkpo")
    resume(killed, LONGER)
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


WRITTEN = [
    "recipe.yaml",
    "metrics.jsonl",
    "checkpoint-pretrain.pt",
    "log-alpha.jsonl",  # before the checkpoint of the same epoch
    "checkpoint-train.pt",
    "checkpoint-finetune.pt",
    "pruned.safetensors",
]


@pytest.mark.parametrize("number", range(len(WRITTEN) + 1))
def test_killed_between_phases(finished_run: Path, tmp_path: Path, number: int) -> None:
    """However many of the files are there already, the run ends as it would have."""
    run = tmp_path / "run"
    run.mkdir()
    (run / ".recipe.yaml.abcdefgh.pyro_vd-tmp").write_bytes(b"half a rec")
    for name in WRITTEN[:number]:
        shutil.copy(finished_run / name, run / name)
    resume(run, SMALL)
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
    resume(run, SMALL)
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
