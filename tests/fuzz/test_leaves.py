"""Wrong values in every leaf of checkpoints of every kind of training: refused, and never written through by a fused kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import ENVIRONMENT
from trainings import OPTIONS, TRAININGS, resume, unfinished

LEAVES = Path(__file__).with_name("leaves.py")


@pytest.mark.slow
def test_wrong_leaves_of_checkpoints() -> None:
    """In a process of its own, which a wrong write may end."""
    done = subprocess.run([sys.executable, str(LEAVES), "25"], capture_output=True, text=True, timeout=600, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.splitlines() == [f"{name}: 25 cases tried" for name in TRAININGS]


@pytest.mark.parametrize("name", ["own", "own scheduler", "sequential", "shrinking"])
def test_what_a_training_saves_it_reads_again(name: str, tmp_path: Path) -> None:
    """A state that grows, too; and the result is that of a training that was not interrupted."""
    options = TRAININGS[name][1]
    assert {**OPTIONS, **options}["epochs"] >= 2
    (path := tmp_path / "c.pt").write_bytes(unfinished(options))
    resumed = resume(options)(path)
    path.unlink()
    assert resume(options)(path) == resumed
