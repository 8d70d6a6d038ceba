"""What a checkpoint holds is checked when it is read: wrong leaves and states are refused, with right digests too."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import refuses
from torch import Tensor, nn

from pyro_vd._core.schema import check_tree
from pyro_vd._core.sealed import seal_zip
from pyro_vd._core.storage import load_checkpoint, save_checkpoint
from pyro_vd.training.optimizer_state import optimizer_state_in


@pytest.mark.parametrize(
    "make",
    [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Adadelta, torch.optim.SGD],
)
def test_the_state_of_every_optimizer(make: Any) -> None:
    net = nn.Linear(3, 2)
    optimizer = make(net.parameters(), lr=0.1, **({"momentum": 0.9} if make is torch.optim.SGD else {}))
    optimizer_state_in("file", optimizer.state_dict(), optimizer)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    optimizer_state_in("file", optimizer.state_dict(), optimizer)
    for key, value in optimizer.state_dict()["state"][0].items():
        for wrong in (torch.zeros(1, 1), torch.full_like(value, torch.nan), value.double(), -value - 1, 3, None):
            state = optimizer.state_dict()
            state["state"] = {0: {**state["state"][0], key: wrong}}
            if wrong is not None and isinstance(wrong, Tensor) and (wrong < 0).all() and not ("sq" in key or key == "step"):
                continue  # may be negative
            with refuses(f"file: optimizer.state.0.{key}"):
                optimizer_state_in("file", state, optimizer)
    for key in optimizer.state_dict()["param_groups"][0]:
        state = optimizer.state_dict()
        del state["param_groups"][0][key]
        with refuses("file: optimizer.param_groups.0", state["param_groups"][0], key):
            optimizer_state_in("file", state, optimizer)


def test_moments_are_taken_into_memory_of_their_own() -> None:
    """Of a tensor whose numbers share their memory, or lie in another order, a fused kernel would write what lies behind."""
    weight = nn.Parameter(torch.ones(3, 2))
    optimizer = torch.optim.Adam([weight], fused=True)
    weight.sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    one, wanted = torch.ones(()), torch.arange(6.0).reshape(3, 2)
    moments = {"exp_avg": one.expand(3, 2), "exp_avg_sq": wanted.t().contiguous().t()}
    state["state"] = {0: {**state["state"][0], **moments}}
    found = optimizer_state_in("file", state, optimizer)["state"][0]
    for key, values in {"exp_avg": torch.ones(3, 2), "exp_avg_sq": wanted}.items():
        assert torch.equal(found[key], values)
        assert found[key].is_contiguous()
        assert found[key].untyped_storage().nbytes() == 24


def repeated() -> Any:
    tree: Any = [0]
    for _ in range(15):
        tree = [tree] * 10
    return tree


class Text(str):
    """Text of a class of its own."""


TOO_MUCH: dict[str, Any] = {
    "numbers": torch.zeros(1).expand(10**12),
    "lists": repeated(),
    "meta": torch.zeros(3, device="meta"),
    "sparse": torch.eye(3).to_sparse(),
    "NumPy": np.float64(3),
    "an object": Text("x"),
}


@pytest.mark.parametrize("case", TOO_MUCH)
def test_what_a_checkpoint_cannot_hold_is_refused_when_it_is_written(tmp_path: Path, case: str) -> None:
    """And when it is read, before it takes memory."""
    path = tmp_path / "c.pt"
    with refuses(str(path)):
        save_checkpoint(path, {"x": TOO_MUCH[case]})
    assert not list(tmp_path.iterdir())
    torch.save({"format": "pyro_vd checkpoint 3", "x": TOO_MUCH[case]}, buffer := io.BytesIO())
    path.write_bytes(seal_zip(buffer))
    with refuses(str(path)):
        load_checkpoint(path)


def test_a_seal_is_no_proof_of_sense(tmp_path: Path) -> None:
    """A checkpoint with a right digest may hold more than its file: refused before memory is taken."""
    save_checkpoint(path := tmp_path / "c.pt", {"x": torch.zeros(3)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member) + bytes(10**8))
    path.write_bytes(seal_zip(buffer))
    with refuses(str(path)):
        load_checkpoint(path)


def test_a_schema_names_the_key() -> None:
    hint = dict[str, list[float | None]]
    check_tree("file", {"a": [1, 2.5, None]}, hint)
    cases: list[tuple[Any, str, object, str]] = [
        ({"a": [True]}, "a.0", True, "file: a.0 (=True)"),
        ({"a": 3}, "a", 3, "file: a (=3)"),
        ({3: []}, "3", 3, "file: 3 (=3)"),
        ({"a": [10**400]}, "a.0", 10**400, "file: a.0 (=1000"),
        ([], "", [], "file: "),
    ]
    for tree, name, value, mentioned in cases:
        with refuses(name, value, mentioned):
            check_tree("file", tree, hint)
