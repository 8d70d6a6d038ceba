"""The choice of sites and of what holds for them, by patterns of their names."""

from __future__ import annotations

import logging

import pyro.distributions as dist
import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, fit, prune
from pyro_vd.distributions import LogUniform, NormalJeffreys
from pyro_vd.evaluation.class_labels import base_distribution
from pyro_vd.guides import GroupVariationalDropout
from pyro_vd.networks.sizes import layer_sizes
from pyro_vd.pruning import PruningRule, pruning_masks

X, Y = torch.randn(12, 6, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3


class Scaled(nn.Module):
    """Linear layers, a normalisation, a parameter of its own with one dimension, and one with none."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 3)
        self.gain, self.shift = nn.Parameter(torch.ones(5)), nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.first(x)).relu() * self.gain + self.shift)


def test_further_parameters_become_sites_and_are_trained_and_pruned() -> None:
    torch.manual_seed(0)
    net = Scaled()
    model = BayesianNetwork(net, include=["*.bias", "norm.weight", "gain", "shift"])
    assert set(model.weight_names) == {name for name, _ in net.named_parameters()}
    assert (model.layer_kind("first.bias"), model.layer_kind("gain")) == (None, None)
    assert model.layer("first.bias") is model._net.first
    assert model.weight_axes("first.weight") == ("out", "in")
    assert (model.weight_axes("gain"), model.weight_axes("shift")) == (("kernel_0",), ())
    guide = VariationalDropout(model, log_sigma2=-4.0)
    VariationalDropoutELBO(kl_weight=0.0)(model, guide)(X, Y).backward()
    for name in model.weight_names:
        assert guide.site(name).theta.grad.any(), name
        assert guide.site(name).log_sigma2.grad.any(), name
    fit(guide, (X, Y), epochs=2, batch_size=4, progress=False)
    pruned = prune(guide, 1e9)
    for name, parameter in pruned.named_parameters():
        assert torch.equal(parameter, guide.mean(name)), name
    assert not prune(guide, -1e9).gain.any()
    assert sum(layer.weights for layer in layer_sizes(pruned, model.weight_names)) == sum(p.numel() for p in net.parameters())


def test_alpha_can_be_shared_and_units_ranked_beside_such_sites() -> None:
    torch.manual_seed(0)
    model = BayesianNetwork(Scaled(), include=["gain"])
    shared = VariationalDropout(model, alpha_sharing="row")
    assert shared.site("gain").log_alpha.shape == (1,)
    masks = pruning_masks(VariationalDropout(model), PruningRule(1e9, max_inputs={"first.weight": 2}))
    assert int(masks["first.weight"].any(0).sum()) == 2
    with refuses("max_inputs", 2, "gain"):
        pruning_masks(VariationalDropout(model), PruningRule(max_inputs={"gain": 2}))
    with refuses(ANYTHING, ANYTHING, "gain"):
        priors = {"gain": LogUniform, "*": NormalJeffreys}
        GroupVariationalDropout(BayesianNetwork(Scaled(), prior=priors, include=["gain"]))


def test_choice_by_patterns_and_by_functions() -> None:
    net = Scaled()
    assert BayesianNetwork(net, exclude=["head.*"]).weight_names == ["first.weight"]
    assert BayesianNetwork(net, include=["head.*"], exclude=["*.weight"]).weight_names == ["head.bias"]
    small = BayesianNetwork(net, include=lambda name, parameter: parameter.numel() <= 1)
    assert set(small.weight_names) == {"first.weight", "head.weight", "shift"}
    assert BayesianNetwork(net, exclude=lambda name, _: name != "head.weight").weight_names == ["head.weight"]


def test_a_network_without_any_known_layer_has_the_sites_that_are_included() -> None:
    class Products(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.ParameterList([torch.randn(6, 5), torch.randn(5, 3)])

        def forward(self, x: Tensor) -> Tensor:
            return (x @ self.w[0]).relu() @ self.w[1]

    model = BayesianNetwork(Products(), include=["w.*"])
    guide = VariationalDropout(model)
    VariationalDropoutELBO(kl_weight=0.0)(model, guide)(X, Y).backward()
    assert model.weight_names == ["w.0", "w.1"]
    assert all(guide.site(name).theta.grad.any() for name in model.weight_names)


def test_wrong_choices_are_refused() -> None:
    net = Scaled()
    with refuses("include", ["frist.bias"], "did you mean 'first.bias'"):
        BayesianNetwork(net, include=["frist.bias"])
    with refuses("exclude", ["nothing*"]):
        BayesianNetwork(net, exclude=["nothing*"])
    with refuses("include", "*"):
        BayesianNetwork(net, include="*")
    with refuses("net", ANYTHING):
        BayesianNetwork(net, exclude=["*"])
    net.head.requires_grad_(False)
    with refuses("include", ["head.bias"]):
        BayesianNetwork(net, include=["head.bias"])


def test_what_stays_plain_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    BayesianNetwork(Scaled(), include=["gain", "shift"])
    assert not caplog.records, "biases and normalisation are expected"
    with caplog.at_level(logging.WARNING):
        BayesianNetwork(Scaled())
    (record,) = caplog.records
    assert "normalisation (10), biases (8), gain of Scaled (5), shift of Scaled (1)" in record.getMessage()


def test_priors_by_pattern() -> None:
    def normal(shape: torch.Size) -> dist.Distribution:
        return dist.Normal(torch.zeros(shape), 1.0)

    model = BayesianNetwork(Scaled(), prior={"first.*": NormalJeffreys, "*": LogUniform})
    assert [type(base_distribution(model.prior(name))).__name__ for name in ("first.weight", "head.weight")] == [
        "NormalJeffreys",
        "LogUniform",
    ]
    with refuses("prior", ["head.weight"]):
        BayesianNetwork(Scaled(), prior={"first.*": normal})
    with refuses("prior", ["third.*"]):
        BayesianNetwork(Scaled(), prior={"third.*": normal, "*": normal})


def test_log_sigma2_by_pattern() -> None:
    model = BayesianNetwork(Scaled())
    guide = VariationalDropout(model, log_sigma2={"head.*": -6, "*": -9.0})
    assert {name: guide.site(name).log_sigma2.unique().tolist() for name in model.weight_names} == {
        "first.weight": [-9.0],
        "head.weight": [-6.0],
    }
    with refuses("log_sigma2", ["first.weight"]):
        VariationalDropout(model, log_sigma2={"head.*": -6})
    with refuses("log_sigma2", 1):
        VariationalDropout(model, log_sigma2={"*": 1})


def test_thresholds_and_limits_by_pattern() -> None:
    torch.manual_seed(0)
    guide = VariationalDropout(BayesianNetwork(Scaled()))
    masks = pruning_masks(guide, PruningRule(1e9, thresholds={"head.*": -1e9}, max_inputs={"f*": 3, "*": 2}))
    assert not masks["head.weight"].any()
    assert int(masks["first.weight"].any(0).sum()) == 3
    with refuses("thresholds", ["haed.*"]):
        pruning_masks(guide, PruningRule(thresholds={"haed.*": 1.0}))


def test_kl_weights_by_pattern() -> None:
    """The loss is the data term and β times the weighted sum of the KL of the sites."""
    model = BayesianNetwork(Scaled())
    guide = VariationalDropout(model)
    elbo = VariationalDropoutELBO(kl_weight=0.5, kl_weights={"head.*": 0.25, "first.weight": 0})
    loss = elbo(model, guide)(X, Y)
    torch.testing.assert_close(elbo.kl, 0.25 * elbo.site_kl["head.weight"])
    torch.testing.assert_close(loss.detach(), elbo.data_term + 0.5 * elbo.kl)
    with refuses("kl_weights", ["haed.*"]):
        VariationalDropoutELBO(kl_weights={"haed.*": 1.0})(model, guide)(X, Y)
    for wrong in ({"*": -1.0}, 3):
        with refuses(ANYTHING, ANYTHING, "kl_weights"):
            VariationalDropoutELBO(kl_weights=wrong)


def test_kl_weights_in_a_training() -> None:
    torch.manual_seed(0)
    guide = VariationalDropout(BayesianNetwork(Scaled()))
    options = {"epochs": 1, "batch_size": 12, "progress": False}
    with refuses("kl_weights", ["haed.*"]):
        fit(guide, (X, Y), kl_weights={"haed.*": 1.0}, **options)
    assert fit(guide, (X, Y), kl_weights={"*": 0.0}, **options).history[0].kl == 0
    assert fit(guide, (X, Y), kl_weights={"head.*": 0.0}, **options).history[0].kl > 0
