"""Mistakes that would give a wrong answer without an error."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyro
import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import (
    BayesianNetwork,
    KLWeight,
    VariationalDropout,
    VariationalDropoutELBO,
    evaluate,
    fit,
    load_data,
    load_pruned,
    log_alpha,
    prune,
    save_pruned,
)
from pyro_vd.distributions import LogUniform, MultiplicativeNormal
from pyro_vd.guides import PointEstimate
from pyro_vd.models import MLP
from pyro_vd.networks.sizes import layer_sizes
from pyro_vd.posterior import predictive
from pyro_vd.pruning import threshold_masks


def data(n: int = 30) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 4), torch.randint(3, (n,))


def test_a_module_used_twice_comes_back_twice(tmp_path: Path) -> None:
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(4, 8), relu, nn.Linear(8, 8), relu, nn.Linear(8, 3))
    save_pruned(net, tmp_path / "net.safetensors")
    x = torch.randn(20, 4)
    assert torch.equal(load_pruned(tmp_path / "net.safetensors")(x), net(x))


def test_tied_layers_must_be_given_again_and_stay_tied(tmp_path: Path) -> None:
    layer = nn.Linear(4, 4)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    save_pruned(net, tmp_path / "net.safetensors")
    with refuses(ANYTHING, ANYTHING, "load_pruned(path, net=...)"):
        load_pruned(tmp_path / "net.safetensors")
    other = nn.Linear(4, 4)
    loaded = load_pruned(tmp_path / "net.safetensors", nn.Sequential(other, nn.ReLU(), other))
    assert loaded[0].weight is loaded[2].weight
    assert torch.equal(loaded(torch.eye(4)), net(torch.eye(4)))


def test_labels_of_another_shape_are_not_broadcast() -> None:
    model = MLP((4, 3))
    x, y = data()
    with refuses("y", (30, 1), "(30,)"):
        VariationalDropoutELBO()(model, VariationalDropout(model))(x, y[:, None])


def test_a_likelihood_with_one_more_dimension_is_refused() -> None:
    model = BayesianNetwork(nn.Linear(4, 3), lambda output: pyro.distributions.Categorical(logits=output[:, None]))
    x, y = data()
    with pytest.raises(ValueError, match=r"batch shape \(30, 1\); it must be \(30,\)"):
        VariationalDropoutELBO()(model, VariationalDropout(model))(x, y)


def test_a_guide_of_another_shape_is_not_broadcast() -> None:
    def model() -> None:
        pyro.sample("w", LogUniform((4, 3)).to_event(2))

    def guide() -> None:
        pyro.sample("w", MultiplicativeNormal(torch.ones(1, 3), torch.zeros(1, 3)).to_event(2))

    with refuses("w", ((), (1, 3)), "(4, 3)"):
        VariationalDropoutELBO().loss(model, guide)


def test_pruned_networks_and_predictions_are_in_evaluation_mode() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    model = BayesianNetwork(net)
    guide = VariationalDropout(model, log_sigma2=-60.0)
    x, _ = data()
    small = prune(guide)
    assert not any(module.training for module in small.modules())
    before = [buffer.clone() for buffer in model.buffers()]
    torch.testing.assert_close(predictive(guide, x, 3), small(x).softmax(-1))
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))
    assert model.training


def test_predictions_leave_pyro_s_parameter_store_alone() -> None:
    model = MLP((4, 3))
    predictive(VariationalDropout(model), data()[0], 2)
    assert len(pyro.get_param_store()) == 0


def test_the_likelihood_of_certain_and_wrong_predictions_is_not_capped() -> None:
    net = nn.Linear(2, 2, bias=False)
    net.weight.data = torch.tensor([[500.0, 0.0], [-500.0, 0.0]])
    metrics = evaluate(net, (torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1])))
    assert metrics.nll == pytest.approx(500)


def test_held_means_stay_out_of_predictions() -> None:
    model = MLP((4, 3))
    guide = VariationalDropout(model)
    with torch.no_grad():
        guide.site("1.weight").log_sigma2.copy_(2 * guide.site("1.weight").theta.abs().log() + 4)  # log α = 4 everywhere
        guide.site("1.weight").theta[0, 0] = 1e3
    x = torch.ones(400, 4)
    means = {}
    for threshold in (None, 4.5, -20.0):
        guide.train_threshold = threshold
        means[threshold] = predictive(guide, x, 20)[:, 0].mean().item()
    assert means[None] == pytest.approx(1)
    assert means[4.5] == pytest.approx(1), "its log α is below"
    assert means[-20.0] < 0.9


def test_removed_weights_stay_removed() -> None:
    model = MLP((4, 3))
    guide = VariationalDropout(model)
    first, second = torch.rand(3, 4) < 0.5, torch.rand(3, 4) < 0.5
    guide.apply_masks({"1.weight": first})
    guide.apply_masks({"1.weight": second})
    assert torch.equal(threshold_masks(log_alpha(guide), math.inf)["1.weight"], first & second)
    assert torch.equal(prune(guide, 100.0)[1].weight != 0, first & second)


@pytest.mark.parametrize(
    "changed", [{"kl_weight": KLWeight(0.5)}, {"train_threshold": 3.0}, {"weight_decay": 0.1}, {"num_particles": 2}]
)
def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path, changed: dict[str, object]) -> None:
    model = MLP((4, 3))
    settings = {"epochs": 1, "checkpoint": tmp_path / "run.pt", "progress": False}
    fit(VariationalDropout(model), data(), **settings)
    with refuses(ANYTHING, ANYTHING, tmp_path / "run.pt", next(iter(changed))):
        fit(VariationalDropout(model), data(), resume=True, **settings, **changed)


def test_differently_scaled_train_and_test_images_are_refused(tmp_path: Path) -> None:
    x, y = np.full((6, 2, 2), 200), np.arange(6) % 2
    np.savez(tmp_path / "x.npz", x_train=x.astype(np.uint8), y_train=y, x_test=x.astype(np.float32), y_test=y)
    with refuses(ANYTHING, ANYTHING, tmp_path / "x.npz", "uint8", "float32"):
        load_data(str(tmp_path / "x.npz"))


def test_every_parametrized_layer_is_counted() -> None:
    layers = [nn.utils.parametrizations.weight_norm(nn.Linear(5, 5)) for _ in range(6)]
    assert len(layer_sizes(nn.Sequential(*layers))) == 6


def test_weight_decay_is_on_the_scale_of_one_example() -> None:
    """With labels that carry nothing, a decay of 0.1 pulls the weights to zero; N times less would not."""
    model = MLP((4, 3))
    x, _ = data(300)
    guide = PointEstimate(model)
    fit(guide, (x, torch.arange(300) % 3), epochs=40, lr=0.02, weight_decay=1.0, progress=False)
    assert guide.mean("1.weight").abs().max() < 0.05


def test_a_hold_that_is_no_number_is_refused() -> None:
    """NaN compares false with everything, so it would hold every mean at zero."""
    model = MLP((4, 3))
    with refuses("train_threshold", math.nan):
        fit(VariationalDropout(model), data(), epochs=1, train_threshold=math.nan, progress=False)
