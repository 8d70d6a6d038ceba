"""``torchrun -m pyro_vd train``: one run of several processes, of which one prints and writes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ENVIRONMENT, SMALL, check_refusal, contents, run_cli

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "pyro_vd", "train"]


@pytest.mark.slow
def test_a_run_of_two_processes(tmp_path: Path, finished_run: Path) -> None:
    line = [*TORCHRUN, "digits", *SMALL, "--out", str(tmp_path / "run"), "--json"]
    first = subprocess.run(line, capture_output=True, text=True, timeout=200, env=ENVIRONMENT)
    assert first.returncode == 0, first.stderr
    result = json.loads(first.stdout)  # one object: one process prints
    assert first.stderr.count("finetune") <= 1, "and shows its bars"
    alone = json.loads((finished_run / "metrics.json").read_text())
    assert result["networks"].keys() == alone["networks"].keys()
    assert (result["processes"], alone["processes"]) == (2, 1)
    pretrained = result["networks"]["pretrained"]["nll"], alone["networks"]["pretrained"]["nll"]
    assert pretrained[0] == pytest.approx(pretrained[1], rel=1e-4), "without noise it is the same training"
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in finished_run.iterdir()}
    epochs = [json.loads(line)["epoch"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert epochs == [1, 2, 1, 2, 1, 2]
    before = contents(tmp_path / "run")
    code, out, _ = run_cli("train", "digits", *SMALL, "--out", tmp_path / "run", "--json", "--resume")
    assert (code, json.loads(out)) == (0, result)
    assert contents(tmp_path / "run") == before


def children(parent: int) -> dict[str, int]:
    """The processes that a torchrun has started, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                names = dict(each.split("=", 1) for each in (folder / "environ").read_text().split("\0") if "=" in each)
                found[names["RANK"]] = int(folder.name)
        except (OSError, KeyError):
            continue
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")
def test_a_killed_process_ends_the_others_and_the_run_is_resumed_in_one(tmp_path: Path) -> None:
    keys = ["--pretrain.epochs=0", "--finetune.epochs=0", "--train.epochs=100", "--train.kl_weight.end=1"]
    line = ["digits", *SMALL, *keys, "--out", str(tmp_path / "run")]
    log = tmp_path / "run" / "metrics.jsonl"
    with subprocess.Popen([*TORCHRUN, *line, "--quiet"], stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) as torchrun:
        until = time.monotonic() + 120
        while time.monotonic() < until and not (log.exists() and len(log.read_text().splitlines()) > 2):
            time.sleep(0.02)
        os.kill(children(torchrun.pid)["1"], signal.SIGKILL)
        _, err = torchrun.communicate(timeout=60)
    assert torchrun.returncode != 0
    assert "error: rank 0 of 2 has lost" in err or "rank 0 was told to end" in err, err
    done = len(log.read_text().splitlines())
    assert 2 < done < 100
    code, _, err = run_cli("train", *line, "--quiet", "--resume")
    assert code == 0, err
    assert len(log.read_text().splitlines()) == 100


def test_other_commands_run_in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_refusal(run_cli("recipes"), ["pyro-vd recipes", "2"])
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    check_refusal(run_cli("train", "digits", "--device=cpu"), ["torchrun", "2"])
