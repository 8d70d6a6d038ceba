"""The memory of a training stays that of a batch, however large the data are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from loader_support import N, X, Y, mapped
from support import ENVIRONMENT, ROOT

from pyro_vd.data.mapped import MappedExamples


@pytest.mark.slow
def test_a_memory_mapped_array_is_not_kept(tmp_path: Path) -> None:
    """All resident memory counts, mapped pages of the file too; it grows by less than half of the array."""
    script = ROOT / "benchmarks" / "memory_mapped.py"
    line = [sys.executable, str(script), "--gib", "0.6", "--batch-size", "512", "--folder", str(tmp_path)]
    result = subprocess.run(line, capture_output=True, text=True, timeout=240, env=ENVIRONMENT)
    assert result.returncode == 0, result.stderr
    before, peak = (float(found) for found in re.findall(r"(?:VmHWM|memory) (\d\.\d+) GiB", result.stdout))
    assert before < peak < before + 0.3, result.stdout


def test_mapped_rows_are_copies_in_the_byte_order_of_this_machine(tmp_path: Path) -> None:
    data = MappedExamples({"x": mapped(tmp_path)}, Y)
    assert len(data) == N
    examples = data.__getitems__([3, 25, 0])
    for row, (x, y) in zip((3, 25, 0), examples, strict=True):
        assert np.array_equal(x["x"], X[row].numpy())
        assert type(x["x"]) is np.ndarray
        assert y == Y[row]
    assert torch.from_numpy(data[7][0]["x"]).equal(X[7])


def test_changes_in_memory_stay(tmp_path: Path) -> None:
    """A map that is changed in memory alone is not given back: what was changed would be lost."""
    np.save(tmp_path / "y.npy", X.numpy())
    x = np.load(tmp_path / "y.npy", mmap_mode="c")
    x[2] = 5
    data = MappedExamples(x, Y)
    assert data[2][0].tolist() == data[2][0].tolist() == [5] * 4
