"""``benchmarks/fingerprint.py``: what its digests depend on, and that it finds what differs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fingerprint.py"


@dataclass
class Measured:
    error: float
    kept: tuple[int, ...]
    name: str = "one"
    is_rmse: bool = False
    seconds: float = 1.0


@pytest.fixture
def digest(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(SCRIPT.parent)
    return import_module("fingerprint_digest").digest


def test_names_text_and_times_do_not_count(digest: Any) -> None:
    wanted = digest(Measured(0.25, (3, 4)))
    assert digest(Measured(0.25, (3, 4), "another", True, 2.0)) == wanted
    assert digest({"score": {"value": 0.25}, "units": [3, 4], "sparse_bytes": 7}) == wanted


def test_every_bit_of_a_number_counts(digest: Any) -> None:
    weight = torch.randn(3, 4)
    layer = torch.nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight.copy_(weight), layer.bias.zero_()
    wanted = digest({"a": weight, "b": torch.zeros(3)})
    assert digest(layer) == wanted
    near = weight.clone()
    near[1, 2] = torch.nextafter(near[1, 2], torch.tensor(9.0))
    others = [near, weight.T, weight.double(), weight.flatten(), -weight]
    found = {digest({"a": other, "b": torch.zeros(3)}) for other in others}
    assert len(found | {wanted}) == 6
    assert digest([3, 4]) != digest([4, 3])
    assert digest([[3], [4]]) != digest([[3, 4]])
    assert digest([0.0]) != digest([-0.0])


def test_what_shows_nothing_is_refused(digest: Any) -> None:
    with pytest.raises(ValueError, match="number"):
        digest({"name": "one", "seconds": 1.0, "none": [None, True]})
    with pytest.raises(TypeError, match="object"):
        digest([object()])


@pytest.mark.slow
def test_lines_that_differ_are_found(tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, list[str]]:
        command = [sys.executable, str(SCRIPT), "--only", "compact mlp", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout.splitlines()

    code, lines = run()
    assert code == 0
    name, found = lines[-1].rsplit(": ", 1)
    changed = [f"{name}: 0123456789ab", "compact mlp, gone: 0123456789ab", "guide variational, mean: 0123456789ab"]
    recorded = tmp_path / "recorded.txt"
    recorded.write_text("\n".join([*lines[:-1], *changed]))
    code, different = run("--against", str(recorded))  # of the result asked for alone
    assert code == 1
    assert [line.split(": ")[0] for line in different] == [name, "compact mlp, gone"]
    assert found in different[0]
