"""A kind of layer that a user adds takes part in everything: prior, training, pruning, counting, compaction, files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from layer_kind_support import Gated, GatedKind, ScaledLinear, ScaledLinearKind
from support import refuses
from torch import Tensor, nn

from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    VariationalDropout,
    compact,
    fit,
    load_pruned,
    prune,
    save_pruned,
)
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.networks import LayerKind, LinearMap, named_weights, register_layer
from pyro_vd.networks.flops import network_cost
from pyro_vd.networks.layer_kind import Axes
from pyro_vd.networks.layer_registry import LINEAR_MAPS, kind_of, unregister_layer
from pyro_vd.networks.layers import widths
from pyro_vd.networks.sizes import layer_sizes
from pyro_vd.runtime import sparsify_runtime

X, Y = torch.randn(30, 6, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3


@pytest.fixture
def scaled() -> Iterator[nn.Sequential]:
    """A network with the kind registered: 6-5-4-3."""
    kind = ScaledLinearKind()
    register_layer(kind)
    torch.manual_seed(0)
    yield nn.Sequential(ScaledLinear(6, 5), nn.ReLU(), ScaledLinear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    unregister_layer(kind)


@pytest.fixture
def gated() -> Iterator[nn.Sequential]:
    kind = GatedKind()
    register_layer(kind)
    torch.manual_seed(0)
    yield nn.Sequential(Gated(6, 5), nn.Tanh(), nn.Linear(5, 3))
    unregister_layer(kind)


def test_without_its_kind_a_layer_stays_plain(caplog: pytest.LogCaptureFixture) -> None:
    model = BayesianNetwork(nn.Sequential(ScaledLinear(6, 5), nn.Linear(5, 3)))
    assert model.weight_names == ["1.weight"]
    assert "*.weight of ScaledLinear (30)" in caplog.text


def test_it_is_trained_pruned_counted_compacted_and_saved(scaled: nn.Sequential, tmp_path: Path) -> None:
    model = BayesianNetwork(scaled)
    assert model.weight_names == ["0.weight", "2.weight", "4.weight"]
    assert model.weight_axes("2.weight") == ("out", "in")
    guide = VariationalDropout(model)
    before = guide.mean("0.weight").clone()
    fit(guide, (X, Y), epochs=1, batch_size=30)
    assert not torch.equal(guide.mean("0.weight"), before), "learnt"
    with torch.no_grad():  # as if training had found no use for these: log α = log σ² − log θ² is large
        for unit in (1, 3):
            guide.site("0.weight").theta[unit] = guide.site("2.weight").theta[:, unit] = 1e-8
        guide.site("0.weight").theta[:, 2] = 1e-8
    pruned = prune(guide)
    assert [(size.site, size.weights, size.nonzero) for size in layer_sizes(pruned)] == [
        ("0.weight", 30, 15),
        ("2.weight", 20, 12),
        ("4.weight", 12, 12),
    ]
    cost = network_cost(pruned, X[:1])
    assert (cost.flops, cost.effective_flops) == (2 * (30 + 20 + 12), 2 * (15 + 12 + 12))
    small = compact(pruned, X)
    assert widths(small) == (5, 3, 4, 3)
    torch.testing.assert_close(small(X), pruned(X))
    save_pruned(small, tmp_path / "net", layout="sparse")
    again = load_pruned(tmp_path / "net")
    assert [type(module) for module in again] == [type(module) for module in small]
    assert torch.equal(again(X), small(X))


def test_it_carries_noise_on_its_input_units(scaled: nn.Sequential) -> None:
    guide = GroupVariationalDropout(BayesianNetwork(scaled, prior=NormalJeffreys))
    fit(guide, (X, Y), epochs=1, batch_size=30)
    assert widths(prune(guide)) == (6, 5, 4, 3)


def test_it_is_run_as_sparse_matrices(scaled: nn.Sequential) -> None:
    with torch.no_grad():
        scaled[0].weight[:, 1] = 0
    torch.testing.assert_close(sparsify_runtime(scaled, (4,))(X[:4]), scaled(X[:4]))


def test_a_file_that_needs_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    kind = ScaledLinearKind()
    register_layer(kind)
    save_pruned(nn.Sequential(ScaledLinear(6, 5)), tmp_path / "net")
    unregister_layer(kind)
    with refuses(str(tmp_path / "net"), "ScaledLinear"):
        load_pruned(tmp_path / "net")


def test_a_layer_of_two_weights(gated: nn.Sequential, caplog: pytest.LogCaptureFixture) -> None:
    model = BayesianNetwork(gated)
    assert model.weight_names == ["0.value", "0.gate", "2.weight"]
    assert model.weight_axes("0.gate") == ("in", "out")
    guide = VariationalDropout(model)
    fit(guide, (X, Y), epochs=1, batch_size=30)
    with torch.no_grad():
        guide.site("0.gate").theta[:, 1:] = 1e-8
        guide.site("2.weight").theta[:, 4] = 1e-8
    pruned = prune(guide)
    assert [name for name, _ in named_weights(pruned)] == ["0.value", "0.gate", "2.weight"]
    assert [size.nonzero for size in layer_sizes(pruned)] == [30, 6, 12]
    cost = network_cost(pruned, X[:1])
    assert (cost.flops, cost.effective_flops) == (2 * (30 + 30 + 15), 2 * (30 + 6 + 12))
    assert widths(compact(pruned, X)) == (6, 4, 3), "a unit that nobody reads goes"


def test_noise_on_units_is_on_the_axis_of_the_inputs_of_each_weight(gated: nn.Sequential) -> None:
    guide = GroupVariationalDropout(BayesianNetwork(gated, prior=NormalJeffreys))
    fit(guide, (X, Y), epochs=1, batch_size=30)
    with torch.no_grad():
        guide.site("0.gate").z_log_sigma2[2] = guide.site("0.value").z_log_sigma2[3] = 10.0
    pruned = prune(guide)
    assert (pruned[0].gate != 0).any(1).tolist() == [True, True, False, True, True, True]
    assert (pruned[0].value != 0).any(0).tolist() == [True, True, True, False, True, True]


def scale_rows(input: Tensor, weight: Tensor, bias: None = None) -> Tensor:
    """A linear map that is a user's own: every feature times its entry of the weight, of one row."""
    if torch.overrides.has_torch_function((input, weight)):
        return torch.overrides.handle_torch_function(scale_rows, (input, weight), input, weight, bias)
    return input * weight[0]


class Scale(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.in_features = self.out_features = features
        self.weight = nn.Parameter(torch.ones(1, features))

    def forward(self, x: Tensor) -> Tensor:
        return scale_rows(x, self.weight)


def test_a_linear_map_of_a_users_own_has_its_output_drawn() -> None:
    from pyro import poutine

    from pyro_vd.inference import LocalReparameterization

    class ScaleKind(LayerKind):
        modules = (Scale,)
        linear_maps = (LinearMap(scale_rows),)

        def weights(self, layer: nn.Module) -> dict[str, Axes]:
            return {"weight": ("kernel_0", "in")}

        def matrix(self, layer: nn.Module) -> None:
            return None

    kind = ScaleKind()
    register_layer(kind)
    try:
        model: Any = BayesianNetwork(nn.Sequential(Scale(2)))
        guide = VariationalDropout(model, log_sigma2=0.0)
        drawn = poutine.trace(guide).get_trace(X).nodes["0.weight"]["value"]
        x = torch.ones(20_000, 2)
        with LocalReparameterization():
            trace = poutine.trace(guide).get_trace(x)
            y = poutine.replay(model.sample_output, trace=trace)(x).detach()
        assert drawn.shape == (1, 2)
        error = 4 * (2 / len(x)) ** 0.5  # four standard errors of a variance
        assert ((y.var(0) - 1).abs() < error).all(), "each example has a draw of its own"
    finally:
        unregister_layer(kind)
    assert scale_rows not in LINEAR_MAPS
    assert F.linear in LINEAR_MAPS


def test_what_cannot_be_registered() -> None:
    class Linear(nn.Module):
        pass

    class Another(ScaledLinearKind):
        modules = (Linear,)

    with refuses("kind", another := Another(), "Linear"):
        register_layer(another)
    with refuses("kind", ScaledLinearKind, "LayerKind"):
        register_layer(ScaledLinearKind)  # type: ignore[arg-type]
    assert kind_of(Linear()) is None

    class Renamed(nn.Module):
        pass

    class OtherMap(ScaledLinearKind):
        modules = (Renamed,)
        linear_maps = (LinearMap(F.linear, spatial=1),)

    with refuses("kind", other := OtherMap(), "linear"):
        register_layer(other)
    assert kind_of(Renamed()) is None
