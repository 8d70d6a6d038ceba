"""Wrong values in every leaf of checkpoints of every kind of training: refused, and never written through by a fused kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from spoil import spoilt
from support import ENVIRONMENT, refuses
from trainings import OPTIONS, TRAININGS, resume, unfinished

LEAVES = Path(__file__).with_name("leaves.py")


@pytest.mark.slow
def test_wrong_leaves_of_checkpoints() -> None:
    """In a process of its own, which a wrong write may end."""
    done = subprocess.run([sys.executable, str(LEAVES), "12"], capture_output=True, text=True, timeout=600, env=ENVIRONMENT)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.splitlines() == [f"{name}: 12 cases tried" for name in TRAININGS]


@pytest.mark.parametrize("place", ["shuffle", "rng"])
def test_states_of_generators_have_any_strides(place: str, tmp_path: Path) -> None:
    (path := tmp_path / "c.pt").write_bytes(good := unfinished({}))
    wanted = resume({})(path)
    path.write_bytes(spoilt(good, (place,), "same", 0))
    assert resume({})(path) == wanted


@pytest.mark.parametrize("parameter", [0, 5])
def test_a_parameter_without_momentum_is_taken_by_the_fused_kernel(parameter: int, tmp_path: Path) -> None:
    """It has none if it had no gradient yet, and torch's kernel wants one of all or of none."""
    options = TRAININGS["SGD"][1]
    (path := tmp_path / "c.pt").write_bytes(spoilt(unfinished(options), ("optimizer", "state", parameter), "gone", 0))
    assert resume(options)(path)


@pytest.mark.parametrize(("place", "kind"), [(("inputs",), "gone"), (("inputs", "kept", 2), "gone")])
def test_inputs_that_do_not_fit_what_is_left_are_refused(place: tuple[Any, ...], kind: str, tmp_path: Path) -> None:
    options = TRAININGS["shrinking"][1]
    (path := tmp_path / "c.pt").write_bytes(spoilt(unfinished(options), ("shrinking", "plans", 0, *place), kind, 0))
    with refuses(str(path)):
        resume(options)(path)


@pytest.mark.parametrize("name", ["own", "own scheduler", "sequential", "shrinking"])
def test_what_a_training_saves_it_reads_again(name: str, tmp_path: Path) -> None:
    """A state that grows, too; and the result is that of a training that was not interrupted."""
    options = TRAININGS[name][1]
    assert {**OPTIONS, **options}["epochs"] >= 2
    (path := tmp_path / "c.pt").write_bytes(unfinished(options))
    resumed = resume(options)(path)
    path.unlink()
    assert resume(options)(path) == resumed
