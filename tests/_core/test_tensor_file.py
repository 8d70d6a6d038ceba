"""Files of tensors are those that safetensors writes, byte by byte, and need no temporary folder."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import refuses
from torch import Tensor

from pyro_vd._core.tensor_file import read_tensors, size_of, tensor_bytes, write_tensors

TYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.uint16, torch.float16, torch.bfloat16, torch.int32),
    *(torch.uint32, torch.float32, torch.complex64, torch.float64, torch.int64, torch.uint64),
)


def tensors() -> dict[str, Tensor]:
    """Tensors of each type that a file can hold, scalars and empty ones too, with names that JSON must escape."""
    whole = torch.arange(6).reshape(2, 3)
    made = {f"{name}{index}": whole.to(dtype, copy=True) for index, dtype in enumerate(TYPES) for name in ("b", 'é\n"')}
    made |= {f"scalar{index}": torch.ones(()).to(dtype) for index, dtype in enumerate(TYPES)}
    return {**made, "none": torch.ones(0, 3), "columns": torch.rand(3, 2).T}


def test_bytes_are_those_of_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    described = {"text": "é\x7f", "list": [1, None]}
    given = tensors()
    write_tensors(tmp_path / "file", "mark é", described, given)
    content = (tmp_path / "file").read_bytes()
    assert content == tensor_bytes("mark é", described, {name: tensor.contiguous() for name, tensor in given.items()})
    assert 0 <= size_of("mark é", described, given) - len(content) <= 16
    for found in (read_tensors(tmp_path / "file", "mark é", "a file")[1], load_file(tmp_path / "file")):
        assert found.keys() == given.keys()
        assert all(torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in given.items())


def test_a_type_that_no_file_holds(tmp_path: Path) -> None:
    with refuses("x", torch.complex128, "complex128"):
        write_tensors(tmp_path / "file", "mark", {}, {"x": torch.ones(2, dtype=torch.complex128)})
    assert list(tmp_path.iterdir()) == []
