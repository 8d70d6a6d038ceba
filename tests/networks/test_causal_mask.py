"""A network with −∞ in a buffer, as a causal mask has it, is written and read; infinite values from elsewhere are refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support import refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, fit, load_pruned, save_pruned

X, Y = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3


class Causal(nn.Module):
    """Each number attends to those before it."""

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)
        self.register_buffer("mask", torch.full((4, 4), -math.inf).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        scores = x[:, :, None] * x[:, None, :] + self.mask
        return self.last((scores.softmax(-1) @ x[:, :, None])[:, :, 0])


@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_a_network_with_a_mask_comes_back(tmp_path: Path, layout: Any) -> None:
    net, path = Causal(), tmp_path / "net.safetensors"
    save_pruned(net, path, layout=layout)
    assert torch.equal(load_pruned(path, net=Causal())(X), net(X))
    for name, value in (("mask", math.nan), ("last.weight", math.inf), ("last.bias", -math.inf)):
        broken = Causal()
        broken.state_dict()[name][0] = value
        before = path.read_bytes()
        with refuses("net", [name], name):
            save_pruned(broken, path, layout=layout)
        assert path.read_bytes() == before


def test_infinity_elsewhere_in_a_mask_is_refused(tmp_path: Path) -> None:
    net = Causal()
    net.mask.fill_(-math.inf)
    save_pruned(net, tmp_path / "net.safetensors")
    with refuses(str(tmp_path / "net.safetensors"), ["mask"], "mask"):
        load_pruned(tmp_path / "net.safetensors", net=Causal())


def test_its_training_goes_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "progress": False}
    losses = []
    for resume in (False, True):
        torch.manual_seed(0)
        model = BayesianNetwork(Causal())
        result = fit(VariationalDropout(model), (X, Y), epochs=2, resume=resume, **options)
        losses.append([record.loss for record in result.history])
    assert losses[0] == losses[1]
