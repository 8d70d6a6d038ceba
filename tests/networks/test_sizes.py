"""How small a network is: every weight counts, wherever it is, and what would be deployed is the size of real files."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from compaction_support import prune_at_random
from size_support import Bare, Embedded, Frozen, Recurrent
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

from pyro_vd import BayesianNetwork, VariationalDropout, evaluate, posterior_mean, prune
from pyro_vd.evaluation.network_size import network_size
from pyro_vd.guides import PointEstimate
from pyro_vd.networks.ready import mlp
from pyro_vd.networks.sizes import OTHERS, compression, layer_sizes
from pyro_vd.runtime import sparsify_runtime


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))
        return scores


NETS: dict[str, tuple[type[nn.Module], Tensor, int, list[str]]] = {
    "LSTM": (Recurrent, torch.randn(9, 4, 12), 4 * 64 * (12 + 64) + 64 * 3, ["rows.*"]),
    "attention": (Attention, torch.randn(9, 4, 8), 3 * 8 * 8 + 8 * 8 + 8 * 3, ["attention.in_proj_weight"]),
    "embedding": (Embedded, torch.randn(9, 4), 20 * 6 + 6 * 20, ["words.*"]),
    "bare parameter": (Bare, torch.randn(9, 5), 5 * 7 + 7 * 3, []),
    "frozen": (Frozen, torch.randn(9, 5), 5 * 30 + 30 * 3, []),
}


@pytest.mark.parametrize("name", NETS)
def test_every_weight_counts_and_what_has_no_prior_is_kept(name: str) -> None:
    kind, x, weights, exclude = NETS[name]
    model = BayesianNetwork(kind(), exclude=exclude)
    guide = VariationalDropout(model, log_sigma2=-3.0)
    net, data = prune(guide), (x, torch.arange(9) % 3)
    with_prior = sum(weight.numel() for weight in model.initial_weights.values())
    removed = sum(int((guide.mean(site) == 0).sum()) for site in guide.site_names)
    left = sum(int((net.get_parameter(site) != 0).sum()) for site in model.weight_names)
    assert left < with_prior, "something is removed"
    found, sampled = evaluate(net, data), evaluate(guide, data, num_samples=2)
    assert found.compression == compression(net) == compression(net, model.weight_names)
    assert found.compression == weights / (weights - with_prior + left)
    assert sampled.compression == weights / (weights - removed)
    for metrics in (sampled,) if exclude else (found, sampled):  # a plain network does not say what was excluded
        assert metrics.prior_share == with_prior / sum(parameter.numel() for parameter in net.parameters())
        *sites, others = metrics.layers
        assert [layer.site for layer in sites] == model.weight_names
        assert asdict(others) == {"site": OTHERS, "weights": weights - with_prior, "nonzero": weights - with_prior}
    assert layer_sizes(model)[-1] == others


def test_zeros_without_a_prior_are_kept_where_the_priors_are_known() -> None:
    model = BayesianNetwork(Bare())
    with torch.no_grad():
        model.net.matrix[:2] = 0
    net = posterior_mean(PointEstimate(model))
    assert (compression(net), compression(net, model.weight_names)) == (56 / 50, 1.0)


def test_what_is_made_of_other_parameters_counts_once() -> None:
    for change in (parametrizations.weight_norm, parametrizations.orthogonal, parametrizations.spectral_norm):
        net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), change(nn.Linear(4, 4)))
        assert [(layer.weights, layer.nonzero) for layer in layer_sizes(net)] == [(16, 16), (16, 16)]
    with pytest.warns(FutureWarning):
        old = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4)), nn.utils.spectral_norm(nn.Linear(4, 3)))
    assert sum(layer.weights for layer in layer_sizes(old)) == 16 + 12
    masked = nn.Sequential(torch_prune.random_unstructured(nn.Linear(4, 4), "weight", 0.5))
    assert compression(masked) == 2
    named_alike = nn.Module()
    named_alike.pos, named_alike.pos_g = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(4, 5))
    assert sum(layer.weights for layer in layer_sizes(named_alike)) == 6 + 20


def test_shared_weights_count_once() -> None:
    tied = Embedded(tied=True)
    assert [asdict(layer) for layer in layer_sizes(tied)] == [{"site": "words.weight", "weights": 120, "nonzero": 120}]
    assert layer_sizes(BayesianNetwork(tied)) == layer_sizes(tied)
    twice = nn.Linear(3, 3)
    assert [layer.weights for layer in layer_sizes(nn.Sequential(twice, nn.ReLU(), twice))] == [9]


def test_no_weight_to_see_is_not_infinitely_small(tmp_path: Path) -> None:
    """The network in an ONNX or ``torch.export`` file shows none."""
    data = torch.rand(6, 3), torch.arange(6) % 3
    metrics = evaluate(nn.Softplus(), data)
    assert math.isnan(metrics.compression)
    assert math.isnan(metrics.prior_share)
    assert (metrics.deployed, metrics.layers) == (None, ())


def test_all_frozen_is_counted_as_if_none_were() -> None:
    net = mlp((6, 5, 3))
    prune_at_random(net)
    size = network_size(net, torch.randn(1, 6))
    assert network_size(net.requires_grad_(False), torch.randn(1, 6)) == size
    x = torch.randn(9, 6)
    runtime = evaluate(sparsify_runtime(net), (x, torch.arange(9) % 3))
    assert (runtime.compression, runtime.deployed) == (size.compression, size.deployed)
