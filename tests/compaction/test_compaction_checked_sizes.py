"""Modules that compare the sizes of what they are given with numbers that they keep, and raise an error where they differ."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from compaction_support import check_compact, prune_at_random
from stream_support import without_stream_units
from torch import Tensor, nn

from pyro_vd import compact, load_pruned, save_pruned
from pyro_vd.networks.layers import widths


class Checking(nn.Module):
    """Two layers that refuse other inputs than those of their width; of equal widths, if ``hidden`` is 6."""

    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.width, self.hidden = 6, hidden
        self.first, self.last = nn.Linear(6, hidden), nn.Linear(hidden, 6)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.width:
            raise ValueError(f"inputs must have {self.width} units")
        if (x := self.first(x).tanh()).shape[1] != self.hidden:
            raise ValueError(f"{self.hidden} units are needed")
        return self.last(x)


@pytest.mark.parametrize("hidden", [8, 6])
def test_numbers_that_are_only_compared_follow(hidden: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), Checking(hidden), nn.Tanh(), Checking(hidden), nn.Linear(6, 2))
    with torch.no_grad():
        for layer, units in ((net[0], 1), (net[1].first, 2), (net[1].last, 1), (net[3].first, 2)):
            layer.weight[:units] = 0
    small = check_compact(net, 4)
    assert widths(small) == (4, 5, hidden - 2, 5, hidden - 2, 6, 2)
    assert [(part.width, part.hidden) for part in (small[1], small[3])] == 2 * [(5, hidden - 2)]


class Translator(nn.Module):
    """``nn.Transformer``, which refuses a stream that is not as wide as it was made, between words and their tied weights."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(30, 24)
        self.transformer = nn.Transformer(24, 4, 1, 1, 40, batch_first=True)
        self.out = nn.Linear(24, 30)
        self.out.weight = self.words.weight

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.out(self.transformer(self.words(source), self.words(target)))


def test_a_transformer_with_a_narrower_stream(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Translator().eval().double()
    x = torch.randint(30, (3, 7)), torch.randint(30, (3, 5))
    prune_at_random(net, density=0.7, units=0)
    left = without_stream_units(net, x, norms=True)
    small = compact(net, x)
    assert small.transformer.d_model == small.words.embedding_dim == left < 24
    assert small.out.weight is small.words.weight
    other = torch.randint(30, (2, 4)), torch.randint(30, (2, 9))
    with torch.no_grad():
        torch.testing.assert_close(small(*other), net(*other), rtol=1e-9, atol=1e-9)
        save_pruned(small, tmp_path / "net")
        again = load_pruned(tmp_path / "net", Translator().double())
        assert torch.equal(again(*other), small(*other))
    assert {k: t.shape for k, t in compact(small, x).state_dict().items()} == {
        k: t.shape for k, t in small.state_dict().items()
    }
