"""Several inputs train as the one tensor of which they are the parts; integers stay integers."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import pyro_vd
from pyro_vd import BayesianNetwork, VariationalDropout, evaluate, fit, predict
from pyro_vd._core.storage import checksum
from pyro_vd.data import TensorBatches
from pyro_vd.testing.interrupting import Interrupt
from pyro_vd.training.frames import FrameRecorder

X, Y = torch.randn(26, 4, generator=torch.Generator().manual_seed(0)), torch.arange(26) % 3
A, B = X[:, :1], X[:, 1:]


class Columns(nn.Module):
    """Takes the columns of one tensor as one, as two, or by name; a flag may be passed."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))

    def forward(self, a: Tensor, b: Tensor | None = None, flag: str = "") -> Tensor:
        return self.layers(a if b is None else torch.cat([a, b], 1))


class Pairs(Dataset[Any]):
    """Examples whose input is a pair."""

    def __len__(self) -> int:
        return 26

    def __getitem__(self, index: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        return (A[index], B[index]), Y[index]


def trained(data: Any, **options: Any) -> list[Any]:
    """The parameters after a training, and its losses."""
    torch.manual_seed(3)
    guide = VariationalDropout(BayesianNetwork(Columns()))
    result = fit(guide, data, **{"epochs": 3, "lr": 0.05, "batch_size": 8, "progress": False, **options})
    assert guide.model.num_data == 26
    return [*(parameter.tolist() for parameter in guide.parameters()), *(record.loss for record in result.history)]


SAME: dict[str, Any] = {
    "tuple": ((A, B), Y),
    "arrays": ((A.numpy(), B.double().numpy()), Y.numpy()),
    "mapping": ({"a": A, "b": B}, Y),
    "flag": ({"flag": "on", "b": B, "a": A}, Y),
    "lists in a mapping": ({"a": A.tolist(), "b": B.tolist()}, Y.tolist()),
    "BatchEncoding": (UserDict({"b": B, "a": A}), Y),
    "examples": Pairs(),
    "data set": pyro_vd.Dataset("mine", {"a": A, "b": B}, Y, {"a": A[:9], "b": B[:9]}, Y[:9]),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_training(name: str) -> None:
    assert trained(SAME[name]) == trained((X, Y))


def test_validation_and_checkpoints_do_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    options: dict[str, Any] = {"validation": ({"a": A, "b": B}, Y), "checkpoint": tmp_path / "c.pt", "resume": True}
    with pytest.raises(KeyboardInterrupt):
        trained(({"a": A, "b": B}, Y), **options, callbacks=[Interrupt(2)])
    torch.manual_seed(9)
    assert trained(({"b": B, "a": A}, Y), **options) == trained((X, Y), validation=(X, Y))
    with refuses(str(options["checkpoint"])):
        trained(({"b": B + 1, "a": A}, Y), **options)


def test_fingerprints() -> None:
    def of(x: Any) -> int:
        return TensorBatches(x, Y).fingerprint()

    assert of(X) == checksum((X, Y)), "of one tensor, as in earlier checkpoints"
    assert of({"a": A, "b": B}) == of({"b": B, "a": A}) == of(UserDict({"b": B, "a": A}))
    others = [(A, B), {"a": A, "c": B}, {"a": A, "b": B, "flag": True}, {"a": A, "b": B, "flag": False}, {"a": A, "b": B + 1}]
    assert len({of(x) for x in ({"a": A, "b": B}, *others)}) == 6


class Loaded:
    """A ``DataLoader``, which makes lists of tuples."""

    num_examples = 26

    def __len__(self) -> int:
        return 4

    def epoch(self, generator: torch.Generator) -> Iterator[Any]:
        for a, b, y in DataLoader(TensorDataset(A, B, Y), 8, shuffle=True, generator=generator):
            yield [a, b], y

    def fingerprint(self) -> str:
        return "26 rows"


class Named(Loaded):
    """The same, by name."""

    def epoch(self, generator: torch.Generator) -> Iterator[Any]:
        for (a, b), y in super().epoch(generator):
            yield {"b": b, "a": a}, y


class Whole(Loaded):
    """The same, as one tensor."""

    def epoch(self, generator: torch.Generator) -> Iterator[Any]:
        for (a, b), y in super().epoch(generator):
            yield torch.cat([a, b], 1), y


def test_batches_of_a_data_loader() -> None:
    whole = trained(Whole(), batch_size=None)
    assert trained(Loaded(), batch_size=None) == whole
    assert trained(Named(), batch_size=None) == whole


def test_augmentation_is_given_all_inputs() -> None:
    def shifted(x: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**x, "b": x["b"] + 1}

    assert trained(({"a": A, "b": B}, Y), augment=shifted) == trained(({"a": A, "b": B + 1}, Y))
    with refuses("augment", ANYTHING, "'a': (8, 1)", "(4, 3)"):
        trained(({"a": A, "b": B}, Y), augment=lambda x: x["b"][:4])


def test_frames_are_measured_on_them(tmp_path: Path) -> None:
    recorder = FrameRecorder(tmp_path, 1, ({"a": A, "b": B}, Y), "validation")
    trained(({"a": A, "b": B}, Y), callbacks=[recorder])
    assert len(list(tmp_path.iterdir())) == 4


def test_a_data_set_is_split_in_the_same_rows() -> None:
    data = pyro_vd.Dataset("mine", (A, B), Y, (A[:5].numpy(), B[:5].numpy()), Y[:5])  # type: ignore[arg-type]
    whole = pyro_vd.Dataset("one", X, Y, X[:5], Y[:5])
    (train, held), (rows, others) = data.split(7, 1), whole.split(7, 1)
    assert held is not None
    assert others is not None
    for parts, tensors in ((train, rows), (held, others)):
        assert torch.equal(torch.cat(parts[0], 1), tensors[0])
        assert torch.equal(parts[1], tensors[1])
    assert "(26, 1)" in repr(data)
    net = Columns()
    assert evaluate(net, data).error == evaluate(net, whole).error
    assert torch.equal(predict(net, data).log_p, predict(net, whole).log_p)


IDS = torch.randint(7, (26, 4), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_token_ids_stay_integers(dtype: torch.dtype) -> None:
    seen: list[torch.dtype] = []

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.linear = nn.Embedding(7, 5), nn.Linear(5, 3)

        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
            seen.extend((ids.dtype, mask.dtype))
            return self.linear((self.embedding(ids) * mask[..., None]).sum(1))

    x = {"ids": IDS.to(dtype).numpy(), "mask": (IDS > 2).numpy()}
    guide = VariationalDropout(BayesianNetwork(Tokens()))
    fit(guide, (x, Y), (x, Y), epochs=1, progress=False)
    evaluate(guide, (x, Y), num_samples=2)
    assert {each for each in seen if isinstance(each, torch.dtype)} == {dtype, torch.bool}, "fx traces it with proxies"


def test_one_integer_per_example() -> None:
    guide = VariationalDropout(BayesianNetwork(nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 3))))
    fit(guide, (IDS[:, 0], Y), epochs=1, progress=False)
    assert predict(guide, IDS[:, 0], num_samples=2).log_p.shape == (26, 3)


LINEAR = nn.Linear(4, 3)
WRONG: dict[str, tuple[Callable[[], object], tuple[Any, ...]]] = {
    "lengths": (lambda: trained(((A, B[:5]), Y)), ("training data", [(26, 1), (5, 3)], "'1': (5, 3)")),
    "labels": (lambda: trained(((A, B), Y[:5])), ("training data", (26, 5))),
    "one example less": (lambda: evaluate(Columns(), ({"a": A, "b": B[:5]}, Y)), ("data", ANYTHING, "'b': (5, 3)")),
    "NaN": (lambda: trained(({"a": A, "b": B.index_fill(0, torch.tensor(3), torch.nan)}, Y)), (ANYTHING, 3, "b", "example 3")),
    "float64": (lambda: predict(Columns(), (A, B.double())), ("x", torch.float64, "inputs 1", "torch.float32")),
    "unknown": (lambda: predict(Columns(), {"a": A, "c": B}), ("x", {"a": (1,), "c": (3,)}, "'c'")),
    "missing": (lambda: predict(LINEAR, {}), ("x", [])),
    "width": (lambda: predict(Columns(), (A, B[:, 1:])), ("x", {"0": (1,), "1": (2,)}, "(1,)")),
    "no numbers": (lambda: predict(Columns(), (A, B[:, :0])), ("x", (26, 0), "1")),
    "a scalar": (lambda: predict(Columns(), (X, torch.tensor(1.0))), ("x", [(26, 4), ()])),
    "ragged": (lambda: predict(Columns(), {"a": [[1.0], [1.0, 2.0]]}), ("x, a", [[1.0], [1.0, 2.0]])),
    "texts": (lambda: predict(Columns(), {"a": np.array(["a", "b"])}), ("x, a", np.dtype("<U1"))),
    "integers": (lambda: predict(LINEAR, IDS), ("x", (4,), "torch.int64")),
    "bytes": (lambda: trained((IDS.to(torch.uint8), Y)), ("training data", (4,), "torch.uint8")),
    "unknown word": (lambda: predict(nn.Embedding(3, 2), IDS), ("x", (4,), "out of range")),
    "unknown word in one example": (
        lambda: predict(nn.Embedding(7, 2), IDS.index_fill(0, torch.tensor(20), 7)),
        ("x", (4,), "out of range", "up to 7"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_named(name: str) -> None:
    use, fields = WRONG[name]
    with refuses(*fields):
        use()
