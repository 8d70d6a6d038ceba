"""Floating-point operations: PyTorch's own count, and those that pruning leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support import run_cli
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pyro_vd import load_pruned
from pyro_vd.networks.flops import network_cost
from pyro_vd.networks.ready import mlp

NETS = {
    "linear": (mlp((6, 5, 3)), (6,)),
    "convolutions": (
        nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, groups=2), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2, stride=3), nn.Conv2d(3, 1, 2)
        ),
        (2, 9, 8),
    ),
    "sequence": (nn.Sequential(nn.Conv1d(3, 4, 2), nn.Linear(7, 5)), (3, 8)),
}


@pytest.mark.parametrize("name", NETS)
def test_counted_as_pytorch_does(name: str) -> None:
    net, shape = NETS[name]
    example = torch.randn(1, *shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(example)
    cost = network_cost(net.train(), example)
    assert net.training
    assert cost.flops == cost.effective_flops == counter.get_total_flops()
    assert cost.parameters == sum(parameter.numel() for parameter in net.parameters())


def test_zeros_are_not_effective() -> None:
    net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
    with torch.no_grad():
        net[0].weight[1] = 0
        net[2].weight[:, 0] = 0
    cost = network_cost(net, torch.randn(1, 1, 6))
    assert (cost.parameters, cost.nonzero) == (6 + 2 + 24 + 3, 3 + 21)
    assert (cost.flops, cost.effective_flops) == (2 * 6 * 4 + 2 * 24, 2 * 3 * 4 + 2 * 21)


def test_evaluate_says_it(finished_run: Path) -> None:
    file = finished_run / "pruned.safetensors"
    nonzero = network_cost(load_pruned(file), torch.zeros(1, 64)).nonzero
    wanted = {
        "parameters": 910,
        "nonzero": nonzero,
        "flops": 1776,
        "effective_flops": 2 * nonzero,
        "bytes": file.stat().st_size,
    }
    for source in (finished_run, file):
        code, out, _ = run_cli("evaluate", source, "--json")
        assert (code, json.loads(out)["cost"]) == (0, wanted)
        code, out, _ = run_cli("evaluate", source)
        assert f"pruned: 910 parameters, {nonzero:,} non-zero weights, 1,776 FLOPs" in out
        assert f"{file.stat().st_size:,} bytes" in out


class Rows(nn.Module):
    """Reads rows one after another, and gives scores after the last."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.rows, self.head = kind(12, 16, batch_first=True), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.rows(x)[0][:, -1])
        return scores


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers_are_counted(kind: type[nn.Module]) -> None:
    net = Rows(kind)
    matrices = sum(p.numel() for p in net.rows.parameters() if p.ndim == 2)
    cost = network_cost(net, torch.randn(1, 5, 12))
    assert cost.flops == cost.effective_flops == 2 * (5 * matrices + 16 * 3)
    assert cost.nonzero == matrices + 16 * 3


def test_attention_is_counted() -> None:
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0), 2)
    cost = network_cost(net, torch.randn(1, 5, 8))
    of_weights = 2 * 2 * 5 * (3 * 8 * 8 + 8 * 8 + 2 * 8 * 16)
    of_attention = 2 * 2 * 2 * 5 * 5 * 8
    assert cost.flops == cost.effective_flops == of_weights + of_attention
    assert torch.backends.mha.get_fastpath_enabled(), "put back"
