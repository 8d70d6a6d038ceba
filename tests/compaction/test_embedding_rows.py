"""Rows of embeddings that are equal to others, as those of removed words are: ids share one, and nothing else changes."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import compact, load_pruned, save_pruned, surviving_units
from pyro_vd.compaction import ShrinkPlan, apply_plan, shrink_plan
from pyro_vd.compaction.surviving import surviving_words
from pyro_vd.evaluation.deployed import deployed_size
from pyro_vd.export import load_onnx, load_torch_export, save_onnx, save_torch_export
from pyro_vd.networks import RemappedEmbedding, RemappedEmbeddingBag
from pyro_vd.workflow.tables import units_text

WORDS, WIDTH = 200, 6


@torch.no_grad()
def without_words(net: nn.Module, left: int = 10, seed: int = 0) -> nn.Module:
    """Set all but a few rows of every embedding to zero, and round the others to halves, so that some are equal."""
    draw = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag):
            module.weight.copy_(torch.randn(module.weight.shape, generator=draw))
            gone = torch.rand(len(module.weight), generator=draw) >= left / len(module.weight)
            module.weight[gone] = 0
            module.weight[3:5] = torch.arange(1, module.weight.shape[1] + 1).to(module.weight)
    return net.double().eval()


def test_words_that_are_left_are_named() -> None:
    net = without_words(nn.Sequential(nn.Embedding(WORDS, WIDTH), nn.Flatten(), nn.Linear(WIDTH, 2)))
    words = [f"word {row}" for row in range(WORDS - 5)]
    kept = net[0].weight.any(1).nonzero().flatten().tolist()
    assert surviving_words(net, words) == tuple(words[row] for row in kept if row < len(words))
    assert surviving_words(nn.Linear(3, 2), words) == ()


class Classifier(nn.Module):
    """Words and their positions, each with a table, and a linear layer over the mean."""

    def __init__(self, make: Callable[[], nn.Module] = lambda: nn.Embedding(WORDS, WIDTH)) -> None:
        super().__init__()
        self.words, self.positions, self.out = make(), nn.Embedding(64, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.out((self.words(ids) + self.positions(torch.arange(ids.shape[1]))).mean(1))


class Bags(nn.Module):
    """Bags of words, given by offsets or one per row."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.bag, self.out = nn.EmbeddingBag(WORDS, WIDTH, **options), nn.Linear(WIDTH, 3)

    def forward(self, ids: Tensor, offsets: Tensor | None = None, factors: Tensor | None = None) -> Tensor:
        return self.out(self.bag(ids, offsets, factors))


def words(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, WORDS, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def check(net: nn.Module, *batches: Any) -> Any:
    """The compact network: the same outputs, a plan that makes it from its description, and nothing more to do."""
    plan = shrink_plan(net, batches[0])
    small = compact(net, batches[0])
    for x in batches:
        args = x if isinstance(x, tuple) else (x,)
        torch.testing.assert_close(small(*args), net(*args), rtol=1e-10, atol=1e-10)
    saved = ShrinkPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert saved == plan
    wanted = small.state_dict()
    for other in (apply_plan(net, saved), compact(small, batches[0])):
        assert repr(other) == repr(small)
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in other.state_dict().items())
    return small


def test_words_that_are_removed_share_one_row() -> None:
    net = without_words(Classifier())
    small = check(net, words(4, 7), words(1, 1), words(9, 60), torch.arange(WORDS).reshape(4, -1))
    rows = len(net.words.weight.unique(dim=0))  # type: ignore[union-attr]
    assert type(small.words) is RemappedEmbedding
    assert small.words.weight.shape == (rows, WIDTH)
    assert (small.words.rows.shape, small.words.rows.dtype) == ((WORDS,), torch.uint8)
    assert int((~small.words.weight.any(1)).sum()) == 1
    for wrong in (-1, WORDS):
        for each in (net, small):
            with pytest.raises(IndexError):
                each(torch.full((1, 2), wrong))


def test_positions_that_do_nothing_are_one_row() -> None:
    net = without_words(Classifier())
    with torch.no_grad():
        net.positions.weight.zero_()  # type: ignore[union-attr,operator]
    small = check(net, words(4, 7), words(2, 64))
    assert small.positions.weight.shape == (1, WIDTH)


def test_columns_go_too_and_need_not_be_equal() -> None:
    net: Any = without_words(Classifier())
    with torch.no_grad():
        net.out.weight[:, 2] = 0
        net.words.weight[:, 2] = torch.randn(WORDS)
    small = check(net, words(4, 7), words(3, 2))
    assert small.words.weight.shape == (len(net.words.weight[:, [0, 1, 3, 4, 5]].unique(dim=0)), WIDTH - 1)


BAGS: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "rows": ({}, (words(4, 5), words(2, 9))),
    "offsets": ({}, ((words(9), torch.tensor([0, 4, 4])), (words(5), torch.tensor([0, 1, 3, 4])))),
    "padding": ({"padding_idx": 8}, (words(4, 5), torch.full((2, 3), 8), torch.tensor([[8, 8, 3], [8, 9, 9]]))),
    "padding, sum": ({"padding_idx": 8, "mode": "sum"}, (words(4, 5), torch.full((2, 3), 8))),
    "padding, max": ({"padding_idx": 8, "mode": "max"}, (words(4, 5), torch.tensor([[8, 8, 3], [8, 9, 9]]))),
    "max": ({"mode": "max"}, (words(4, 5), torch.full((2, 3), 4))),
    "last offset": ({"include_last_offset": True}, ((words(9), torch.tensor([0, 4, 9])),)),
    "factors": (
        {"mode": "sum"},
        ((words(9), torch.tensor([0, 4]), torch.randn(9).double()), (words(3), torch.tensor([0]), torch.randn(3).double())),
    ),
}


@pytest.mark.parametrize("name", BAGS)
def test_bags(name: str) -> None:
    options, batches = BAGS[name]
    net: Any = without_words(Bags(**options))
    with torch.no_grad():
        net.bag.weight[torch.tensor([8, 9])] = 0
    small = check(net, *batches)
    assert type(small.bag) is RemappedEmbeddingBag
    assert len(small.bag.weight) == len(net.bag.weight.unique(dim=0)) + ("padding_idx" in options)


def test_a_column_of_zeros_in_a_bag_goes() -> None:
    net: Any = without_words(Bags())
    with torch.no_grad():
        net.bag.weight[:, 1] = 0
        net.bag.weight[:, 2] = 1  # the output of an empty bag is 0, so that this one is no constant
    small = check(net, (words(9), torch.tensor([0, 4, 4])))
    assert small.bag.embedding_dim == WIDTH - 1


def test_the_padding_keeps_its_row_and_gets_no_gradient() -> None:
    net: Any = without_words(Classifier(lambda: nn.Embedding(WORDS, WIDTH, padding_idx=5)))
    with torch.no_grad():
        net.words.weight[5] = 7
    small = check(net, words(4, 7), torch.full((2, 3), 5)).train()
    assert small.words.padding_idx == 5
    small(torch.tensor([[5, 4, 0]])).sum().backward()
    assert not small.words.weight.grad[small.words.padding_row].any()
    assert small.words.weight.grad.any()


class Tied(nn.Module):
    """The rows of the words are those of the outputs, as in GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.words(ids))


class Counting(Classifier):
    def __init__(self, count: Callable[[Any], int]) -> None:
        super().__init__()
        self.count = count

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids % self.count(self.words))


class Direct(Classifier):
    def forward(self, ids: Tensor) -> Tensor:
        return self.out(nn.functional.embedding(ids, self.words.weight).mean(1))  # type: ignore[arg-type]


KEPT: dict[str, Callable[[], nn.Module]] = {
    "tied": Tied,
    "a norm that changes rows": lambda: Classifier(lambda: nn.Embedding(WORDS, WIDTH, max_norm=2.0)),
    "gradients by frequency": lambda: Classifier(lambda: nn.Embedding(WORDS, WIDTH, scale_grad_by_freq=True)),
    "no module": Direct,
    "ids from the number of rows": lambda: Counting(lambda layer: len(layer.weight)),
    "the network itself": lambda: nn.Embedding(WORDS, WIDTH),
}


@pytest.mark.parametrize("name", KEPT)
def test_rows_that_cannot_go_stay(name: str) -> None:
    net: Any = without_words(KEPT[name]())
    table = getattr(net, "words", net)
    before = table.weight.detach().clone()
    small: Any = compact(net, words(4, 7))
    assert getattr(small, "words", small).weight.shape == before.shape
    for x in (words(4, 7), words(2, 3, seed=5)):
        torch.testing.assert_close(small(x), net(x), rtol=1e-10, atol=1e-10)


def test_a_number_of_ids_that_the_network_keeps_stays_the_same() -> None:
    net = without_words(Counting(lambda layer: layer.num_embeddings))
    small = check(net, words(4, 7), 1000 * words(3, 5))
    assert len(small.words.weight) < WORDS / 2


def test_rows_go_only_where_fewer_bytes_are_left() -> None:
    net = without_words(nn.Sequential(nn.Embedding(WORDS, 1), nn.Linear(1, 3)))
    assert type(compact(net, words(4, 7))[0]) is RemappedEmbedding  # type: ignore[index]
    most = without_words(nn.Sequential(nn.Embedding(WORDS, 1), nn.Linear(1, 3)), left=180)
    assert type(compact(most, words(4, 7))[0]) is nn.Embedding  # type: ignore[index]


def test_more_rows_go_where_more_have_become_equal() -> None:
    net = without_words(Classifier(lambda: nn.Embedding(WORDS, WIDTH, padding_idx=4)), left=40)
    small: Any = compact(net, words(4, 7))
    before = len(small.words.weight)
    with torch.no_grad():
        small.words.weight[::2] = 0
    smaller = check(small, words(4, 7), torch.arange(WORDS).reshape(5, -1))
    assert 2 <= len(smaller.words.weight) <= before // 2 + 1


@pytest.mark.parametrize("layout", ["dense", "sparse"])
@pytest.mark.parametrize("twice", [False, True])
def test_files_are_read_into_the_class(tmp_path: Path, layout: Any, twice: bool) -> None:
    net: Any = without_words(Classifier(lambda: nn.Embedding(WORDS, WIDTH, padding_idx=4)))
    with torch.no_grad():
        net.out.weight[:, 2] = 0
    small: Any = compact(net, words(4, 7))
    if twice:
        with torch.no_grad():
            small.out.weight[:, 1] = 0
        small = compact(small, words(4, 7))
        assert small.words.embedding_dim == WIDTH - 2
    save_pruned(small, tmp_path / "net", layout=layout)
    for given in (Classifier(lambda: nn.Embedding(WORDS, WIDTH, padding_idx=4)).double(), small):
        again: Any = load_pruned(tmp_path / "net", given)
        assert repr(again) == repr(small)
        assert (again.words.padding_row, again.words.rows.dtype) == (small.words.padding_row, small.words.rows.dtype)
        assert torch.equal(again(words(3, 9)), small(words(3, 9)))
    with refuses():
        load_pruned(tmp_path / "net", Classifier(lambda: nn.Embedding(WORDS + 1, WIDTH, padding_idx=4)).double())


def test_a_file_that_describes_its_network_needs_no_other(tmp_path: Path) -> None:
    small: Any = compact(without_words(nn.Sequential(nn.Embedding(WORDS, WIDTH), nn.Linear(WIDTH, 3))), words(4, 7))
    save_pruned(small, tmp_path / "net")
    assert torch.equal(load_pruned(tmp_path / "net")(words(3, 9)), small(words(3, 9)))
    small[0].rows[7] = len(small[0].weight)
    with refuses("net", ANYTHING, "0.rows"):
        save_pruned(small, tmp_path / "net")


@pytest.mark.parametrize(("save", "load"), [(save_torch_export, load_torch_export), (save_onnx, load_onnx)])
@pytest.mark.parametrize("kind", ["words", "bags"])
def test_exported_files_take_any_batch_and_length(tmp_path: Path, save: Any, load: Any, kind: str) -> None:
    make: dict[str, Callable[[], nn.Module]] = {"words": Classifier, "bags": lambda: Bags(mode="sum")}
    small = compact(without_words(make[kind]()), words(4, 7)).float()
    save(small, tmp_path / "net", words(4, 7), dynamic=(0, 1))
    again = load(tmp_path / "net")
    for x in (words(4, 7), words(1, 2), words(9, 30)):
        torch.testing.assert_close(again(x), small(x), rtol=1e-5, atol=1e-5)


def test_sizes_count_the_rows_of_ids(tmp_path: Path) -> None:
    net = without_words(Classifier()).float()
    found, small = deployed_size(net, words(4, 7)), compact(net, words(4, 7))
    save_pruned(small, tmp_path / "net")
    assert found is not None
    assert found.parameters == sum(parameter.numel() for parameter in small.parameters())
    assert abs(found.bytes - (tmp_path / "net").stat().st_size) <= 16
    rows: Any = [len(module.weight) for module in (small.words, small.positions)]  # type: ignore[arg-type,union-attr]
    left = surviving_units(net, words(4, 7))
    assert [left[name].inputs for name in ("words", "positions")] == [
        first_of_equal(table) for table in (net.words, net.positions)
    ]
    assert units_text({path: asdict(layer) for path, layer in left.items()}) == (
        f"{rows[0]}-{WIDTH}-{WIDTH} (words: {rows[0]} of {WORDS} rows, positions: {rows[1]} of 64 rows)"
    )


def first_of_equal(table: Any) -> tuple[int, ...]:
    """The rows of an embedding that are equal to none before them."""
    rows = [tuple(row) for row in table.weight.tolist()]
    return tuple(index for index, row in enumerate(rows) if rows.index(row) == index)


def test_a_plan_for_another_embedding_is_refused() -> None:
    net = without_words(Classifier())
    plan = shrink_plan(net, words(4, 7))
    with refuses("words", WORDS - 1, WORDS):
        apply_plan(Classifier(lambda: nn.Embedding(WORDS - 1, WIDTH)).double(), plan)
    tree = copy.deepcopy(plan.to_json())
    tree["embeddings"][0]["rows"][0] = WORDS
    with refuses("words"):
        ShrinkPlan.from_json(tree)


@pytest.mark.skipif(find_spec("onnxscript") is None, reason="onnxscript is not installed")
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_file_of_ids_that_share_rows_takes_any_length(tmp_path: Path, kind: type[nn.RNNBase]) -> None:
    """Also before a recurrent layer, whose steps PyTorch would run one by one, which fixes their number."""

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.recurrent = nn.Embedding(90, 12), kind(12, 8, batch_first=True)  # type: ignore[call-arg]
            self.norm, self.last = nn.LayerNorm(8), nn.Linear(8, 3)

        def forward(self, ids: Tensor) -> Tensor:
            return self.last(self.norm(self.recurrent(self.words(ids))[0]))

    torch.manual_seed(0)
    net = Tagger().eval()
    with torch.no_grad():
        net.words.weight[5:] = 0
    small = compact(net, ids := torch.randint(90, (3, 7)))
    assert small.words.num_rows == 6
    save_onnx(small, tmp_path / "net", ids, dynamic=(0, 1))
    for shape in ((2, 4), (5, 11)):
        ids = torch.randint(90, shape)
        torch.testing.assert_close(load_onnx(tmp_path / "net")(ids), net(ids), rtol=1e-5, atol=1e-6)
