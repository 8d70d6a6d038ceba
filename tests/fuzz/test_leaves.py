"""Wrong values in every leaf of checkpoints of every kind of training: refused, and never written through by a fused kernel."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ENVIRONMENT
from trainings import OPTIONS, TRAININGS, resume, unfinished

LEAVES = Path(__file__).with_name("leaves.py")


def run(cases: int, *names: str) -> dict[str, Any]:
    """The program's result; it runs in a process of its own, which a wrong write may end."""
    done = subprocess.run(
        [sys.executable, str(LEAVES), str(cases), *names], capture_output=True, text=True, timeout=600, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_wrong_leaves_of_checkpoints() -> None:
    result = run(25)
    assert result["findings"] == {}
    assert result["tried"].keys() == TRAININGS.keys()
    assert all(count == 25 for count in result["tried"].values())


@pytest.mark.parametrize("name", ["own", "own scheduler", "sequential", "shrinking"])
def test_what_a_training_saves_it_reads_again(name: str, tmp_path: Path) -> None:
    """A state that grows, too; and the result is that of a training that was not interrupted."""
    options = TRAININGS[name][1]
    assert {**OPTIONS, **options}["epochs"] >= 2
    (path := tmp_path / "c.pt").write_bytes(unfinished(options))
    resumed = resume(options)(path)
    path.unlink()
    assert resume(options)(path) == resumed
