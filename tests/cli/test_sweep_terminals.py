"""``pyro-vd sweep`` in several terminals at once: no run twice, none lost, also where terminals and runs are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from support import ENVIRONMENT, SMALL, command, run_cli

from pyro_vd.workflow.study import COMPLETE, STOPPED, Study

RATES = "0.001,0.002,0.003"
LONGER = (*SMALL, "--train.epochs=20")
GRID = ("--grid", f"train.lr={RATES}", "--seeds=2", *LONGER)


def terminal(out: Path, *arguments: str) -> subprocess.Popen[str]:
    line = command("sweep", "digits", *arguments, "--jobs=1", "--out", out)
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, start_new_session=True
    )


def ends(processes: list[subprocess.Popen[str]]) -> tuple[list[int], list[str], Counter[str]]:
    """Exit codes, standard outputs, and how often each run was finished, of all terminals together."""
    said = [process.communicate(timeout=300) for process in processes]
    finished = Counter(line.partition(":")[0] for _, err in said for line in err.splitlines() if line.endswith(": finished"))
    return [process.returncode for process in processes], [out for out, _ in said], finished


@pytest.mark.slow
def test_three_terminals_one_of_which_is_killed(tmp_path: Path) -> None:
    """Six runs. They start at the same instant; the first is killed, with all of its processes, when it trains."""
    out = tmp_path / "out"
    processes = [terminal(out, *GRID) for _ in range(3)]
    first = processes[0].pid
    claims = out / ".sweep" / "claims"
    while not any(f"process {first} on " in path.read_text() for path in claims.glob("*")):
        assert processes[0].poll() is None
        time.sleep(0.02)
    os.killpg(first, signal.SIGKILL)
    (killed, *codes), (_, *tables), finished = ends(processes)
    assert (killed, codes) == (-signal.SIGKILL, [0, 0])
    names = {f"train.lr={lr},seed={seed}" for lr in RATES.split(",") for seed in (0, 1)}
    assert {path.parent.name for path in out.glob("*/metrics.json")} == names
    assert max(finished.values()) == 1, "no run was finished twice"
    assert finished.keys() <= names
    assert len(finished) >= 6 - 2, "but what the killed one had finished, or was about to"
    assert tables[0] == tables[1] != "", "each shows all results"
    assert [trial.state for trial in Study(out / ".sweep").trials()] == [COMPLETE] * 3
    alone = tmp_path / "alone"
    assert run_cli("train", "digits", *LONGER, "--train.lr=0.001", "--seed=0", "--out", alone, "--quiet")[0] == 0
    for name in ("pruned.safetensors", "posterior.safetensors"):
        assert (alone / name).read_bytes() == (out / "train.lr=0.001,seed=0" / name).read_bytes(), "taken up again, bit for bit"


@pytest.mark.slow
@pytest.mark.long
def test_two_terminals_search(tmp_path: Path) -> None:
    out = tmp_path / "out"
    search = ("--search", "train.lr=log:1e-3..1e-1", "train.optimizer=Adam,AdamW", "--trials=5", *SMALL)
    codes, tables, finished = ends([terminal(out, *search) for _ in range(2)])
    assert (codes, max(finished.values())) == ([0, 0], 1)
    assert tables[0] == tables[1] != ""
    trials = Study(out / ".sweep").trials()
    assert [trial.state for trial in trials] == [COMPLETE] * 5
    for trial in trials:
        name = ",".join(f"{key}={value}" for key, value in trial.user_attrs["point"].items())
        metrics = json.loads((out / name / "metrics.json").read_text())
        assert trial.value == metrics["validation_error"]


@pytest.mark.slow
def test_hopeless_settings_are_stopped(tmp_path: Path) -> None:
    """The sixth setting hardly learns. Its run says so, and can be finished by hand."""
    out = tmp_path / "out"
    rates = ("0.003", "0.0031", "0.0032", "0.0033", "0.0034", "1e-9")
    options = ("--pretrain.epochs=0", "--train.epochs=11", "--finetune.epochs=0", "--jobs=1", "--out", str(out))
    line = ("sweep", "digits", "--grid", f"train.lr={','.join(rates)}", *SMALL, *options)
    code, text, err = run_cli(*line, "--stop-hopeless", "--json", "--quiet")
    assert (code, err) == (0, "")
    result = json.loads(text)
    assert (result["stopped"], len(result["settings"])) == (["train.lr=1e-9"], 5)
    folder = out / "train.lr=1e-9"
    assert "epoch 2 of 11" in json.loads((folder / "stopped.json").read_text())["stopped"], "the first tenth after the warm-up"
    assert run_cli("evaluate", folder)[2].count("a sweep has stopped it") == 1
    assert [trial.state for trial in Study(out / ".sweep").trials()] == [COMPLETE] * 5 + [STOPPED]
    assert "stopped, 1" in run_cli(*line)[1], "it stays stopped"
    assert run_cli("train", str(folder / "recipe.yaml"), "--resume", "--out", folder, "--quiet")[0] == 0
    assert not (folder / "stopped.json").exists()
    result = json.loads(run_cli(*line, "--json", "--quiet")[1])
    assert (result["stopped"], len(result["settings"])) == ([], 6)
