"""Networks of one's own class, compact ones too: written with what a file can say of them, read into the class again."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from compaction_support import prune_at_random
from given_network_support import LAYOUTS, NETWORKS, Convolutional, Own, made
from torchvision.models import mnasnet0_5

from pyro_vd import compact, fine_tune, load_pruned, save_pruned
from pyro_vd.networks.layers import widths


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_compact_network_is_read_into_its_class(tmp_path: Path, name: str, layout: Any) -> None:
    _, small, x = made(name)
    save_pruned(small, tmp_path / "net", layout=layout)
    given = NETWORKS[name][0]()
    before = {key: tensor.clone() for key, tensor in given.state_dict().items()}
    again = load_pruned(tmp_path / "net", given)
    assert (repr(again), again.training) == (repr(small), False)
    assert widths(again) == widths(small)
    assert len(list(again.parameters())) == len(list(small.parameters())), "what is shared stays shared"
    if layout == "quantised":
        torch.testing.assert_close(again(x), small(x), rtol=0.2, atol=0.2)
    else:
        assert torch.equal(again(x), small(x))
    assert all(torch.equal(before[key], tensor) for key, tensor in given.state_dict().items()), "the given one is left as it is"
    for other in (small, again):  # of the same sizes already
        assert torch.equal(load_pruned(tmp_path / "net", other)(x), again(x))
    save_pruned(again, tmp_path / "twice", layout=layout)
    assert torch.equal(load_pruned(tmp_path / "twice", given)(x), again(x))


def test_one_made_smaller_twice_and_trained_on(tmp_path: Path) -> None:
    _, small, x = made("convolutional")
    prune_at_random(small, density=0.8, units=0.2)
    smaller = compact(small, x)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in small.parameters())
    fine_tune(smaller, (torch.randn(20, 3, 6, 6), torch.arange(20) % 4), epochs=1, progress=False)
    save_pruned(smaller, tmp_path / "net", layout="sparse")
    assert torch.equal(load_pruned(tmp_path / "net", Convolutional())(x), smaller(x))


def test_biases_that_compaction_adds(tmp_path: Path) -> None:
    net = Own()
    with torch.no_grad():
        net.first.weight[::2] = 0  # sigmoid(0) is a half, whatever the input
    small = compact(net)
    assert small.last.bias is not None
    save_pruned(small, tmp_path / "net")
    x = torch.randn(4, 12)
    assert torch.equal(load_pruned(tmp_path / "net", Own())(x), small(x))


def test_versions_of_modules_are_kept(tmp_path: Path) -> None:
    """Some modules read their state by their version: without it mnasnet takes it for one of another layout."""
    net = mnasnet0_5(num_classes=5).eval()
    for layout in ("dense", "sparse"):
        save_pruned(net, tmp_path / "net", layout=layout)
        again = load_pruned(tmp_path / "net", mnasnet0_5(num_classes=5))
        assert repr(again) == repr(net)
        x = torch.randn(1, 3, 32, 32)
        assert torch.equal(again(x), net(x))


def test_the_memory_of_sizes_goes_with_copies() -> None:
    _, small, x = made("linear")
    assert compact(copy.deepcopy(small), x).net.first.whole_shapes == small.net.first.whole_shapes
