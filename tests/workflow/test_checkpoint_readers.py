"""What a checkpoint holds is checked when it is read: wrong leaves and states are refused, with right digests too."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from support import python, refuses
from torch import Tensor, nn

from pyro_vd._core.schema import check_tree
from pyro_vd._core.storage import load_checkpoint, save_checkpoint
from pyro_vd.training.optimizer_state import check_optimizer_state

LEAVES = """
import sys
import torch
from support import EachStep
from reader_support import DATA, pair
from pyro_vd import InputError, fit
from pyro_vd._core.storage import load_checkpoint, save_checkpoint

def places(tree, path=()):
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield (*path, key)
        if isinstance(tree[key], (dict, list)):
            yield from places(tree[key], (*path, key))

def wrong(value):
    yield from (None, "x", torch.zeros(1))
    if isinstance(value, (dict, list)):
        yield from (-7, {}, [[1]])
    if isinstance(value, torch.Tensor):
        yield from (value.double(), value.to(torch.int64), value.flatten()[:1])
        yield from (value.unsqueeze(0), value.expand(2, *value.shape))
        if value.is_floating_point():
            yield from (torch.full_like(value, x) for x in (torch.nan, torch.inf))
            yield value.to_sparse()

folder, tried, taken = sys.argv[1], 0, []
keep = []
def stop(state):
    if state.epoch == 1 and not keep:
        keep.append(load_checkpoint(path))
from pathlib import Path
path = Path(folder) / "c.pt"
options = {"epochs": 2, "batch_size": 12, "progress": False}
fit(pair(1)[1], DATA, checkpoint=path, callbacks=[EachStep(stop)], **options)
for place in places(keep[0]):
    if place[0] in ("format", "settings") and len(place) > 1:
        continue  # compared as a whole
    leaf = keep[0]
    for key in place:
        leaf = leaf[key]
    for value in [*(value for value in wrong(leaf) if value is not leaf), "gone"]:
        save_checkpoint(path, keep[0])
        tree = state = load_checkpoint(path)
        for key in place[:-1]:
            tree = tree[key]
        if isinstance(value, str) and value == "gone":
            del tree[place[-1]]
        else:
            tree[place[-1]] = value
        save_checkpoint(path, {key: value for key, value in state.items() if key != "format"})
        model, guide = pair(2)
        before = {name: tensor.clone() for name, tensor in guide.state_dict().items()}
        tried += 1
        try:
            fit(guide, DATA, checkpoint=path, resume=True, **options)
            taken.append(".".join(map(str, place)))
        except InputError as error:
            assert "c.pt" in str(error), error
            assert all(torch.equal(before[name], tensor) for name, tensor in guide.state_dict().items()), "loaded in part"
print(tried, *sorted(set(taken)))
"""


@pytest.mark.slow
def test_every_wrong_leaf_of_a_checkpoint(tmp_path: Path) -> None:
    """In a process of its own, with right digests: fused kernels write beyond moments that are too small."""
    done = python(LEAVES, tmp_path, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr[-2000:]
    tried, *taken = done.stdout.split()
    assert int(tried) > 200
    # Another right value is none that a check can know: a state that is not there, a count, a time.
    may_differ = ("format", "settings", "cuda_rng", "history.0", "optimizer.state", "optimizer.param_groups.0.lr")
    assert not [place for place in taken if not place.startswith(may_differ)]


@pytest.mark.parametrize(
    "make",
    [torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.Adadelta, torch.optim.SGD],
)
def test_the_state_of_every_optimizer(make: Any) -> None:
    net = nn.Linear(3, 2)
    optimizer = make(net.parameters(), lr=0.1, **({"momentum": 0.9} if make is torch.optim.SGD else {}))
    check_optimizer_state("file", optimizer.state_dict(), optimizer)
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    check_optimizer_state("file", optimizer.state_dict(), optimizer)
    for key, value in optimizer.state_dict()["state"][0].items():
        for wrong in (torch.zeros(1, 1), torch.full_like(value, torch.nan), value.double(), -value - 1, 3, None):
            state = optimizer.state_dict()
            state["state"] = {0: {**state["state"][0], key: wrong}}
            if wrong is not None and isinstance(wrong, Tensor) and (wrong < 0).all() and not ("sq" in key or key == "step"):
                continue  # may be negative
            with refuses(f"file: optimizer.state.0.{key}"):
                check_optimizer_state("file", state, optimizer)
    for key in optimizer.state_dict()["param_groups"][0]:
        state = optimizer.state_dict()
        del state["param_groups"][0][key]
        with refuses("file: optimizer.param_groups.0", state["param_groups"][0], key):
            check_optimizer_state("file", state, optimizer)


def test_a_seal_is_no_proof_of_sense(tmp_path: Path) -> None:
    """A checkpoint with a right digest may hold more than its file: refused before memory is taken."""
    save_checkpoint(path := tmp_path / "c.pt", {"x": torch.zeros(3)})
    from pyro_vd._core.sealed import seal_zip

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
