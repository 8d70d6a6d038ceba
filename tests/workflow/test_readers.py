"""What is read is what was written, or it is refused: one flipped bit, one wrong leaf, a bomb, a program that never ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reader_support import DATA, pair
from torch import nn

from pyro_vd import fit
from pyro_vd._core.errors import InputError
from pyro_vd.export.torch_file import load_torch_export, save_torch_export
from pyro_vd.networks.ready import mlp
from pyro_vd.workflow.posterior_file import load_posterior, save_posterior


def state_of(*modules: nn.Module) -> list[Any]:
    return [tensor.tolist() for module in modules for tensor in module.state_dict().values()]


def write_checkpoint(path: Path) -> None:
    fit(pair(1)[1], DATA, epochs=2, checkpoint=path, progress=False)


def resumed(path: Path) -> list[Any]:
    modules = pair(2)
    fit(modules[1], DATA, epochs=2, checkpoint=path, resume=True, progress=False)
    return state_of(*modules)


def loaded(path: Path) -> list[Any]:
    modules = pair(2)
    load_posterior(path, modules[1])
    return state_of(*modules)


def exported(path: Path) -> list[Any]:
    return load_torch_export(path)(DATA[0]).tolist()


KINDS: dict[str, tuple[Callable[[Path], object], Callable[[Path], list[Any]], int]] = {
    "posterior": (lambda path: save_posterior(path.parent, pair(1)[1]), loaded, 31),
    "checkpoint": (write_checkpoint, resumed, 331),
    "torch-export": (lambda path: save_torch_export(mlp((4, 3, 2)), path, DATA[0]), exported, 331),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_every_flipped_bit_is_noticed(tmp_path: Path, kind: str) -> None:
    """Or does nothing."""
    write, read, every = KINDS[kind]
    write(path := tmp_path / "posterior.safetensors")
    good, wanted, refusals = path.read_bytes(), read(path), 0
    bits = range(0, 8 * len(good), every)
    for bit in bits:
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        try:
            assert read(path) == wanted, bit
        except InputError:
            refusals += 1
    assert refusals > 0.9 * len(bits)
    path.write_bytes(good)
    assert read(path) == wanted
