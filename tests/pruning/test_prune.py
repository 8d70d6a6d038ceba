"""Pruning removes exactly the weights whose log α is at or above the threshold, and leaves a plain network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from support import refuses
from torch import nn

from pyro_vd import PruningRule, VariationalDropout, evaluate, log_alpha, posterior_mean, prune
from pyro_vd.guides import GaussianDropout, PointEstimate, WeightGuide
from pyro_vd.models import MLP
from pyro_vd.posterior import summarize
from pyro_vd.posterior.summary import QUANTILES
from pyro_vd.pruning import pruning_masks, threshold_masks

PER: tuple[Any, ...] = ("weight", "row", "column", "layer")
Pair = tuple[MLP, VariationalDropout]


@pytest.fixture
def pair() -> Pair:
    """Return a network with a wide range of log α: θ and log σ² of all sizes, and one θ exactly 0."""
    model = MLP((6, 20, 3))
    guide = VariationalDropout(model)
    with torch.no_grad():
        for name in guide.site_names:
            site = guide.site(name)
            site.log_sigma2.uniform_(-12, 0)
        guide.site("1.weight").theta[0, 0] = 0
    return model, guide


@pytest.mark.parametrize("threshold", [-2.0, 1.5, 3.0, 8.0])
def test_zeros_exactly_where_log_alpha_reaches_the_threshold(pair: Pair, threshold: float) -> None:
    model, guide = pair
    net, mean = prune(guide, threshold), posterior_mean(guide)
    for name, values in log_alpha(guide).items():
        weight, full = net.get_parameter(name), mean.get_parameter(name)
        site = guide.site(name)
        by_hand = site.log_sigma2 - site.theta.square().log()
        torch.testing.assert_close(values, by_hand.detach())
        assert torch.equal(weight == 0, values >= threshold)
        assert torch.equal(weight[values < threshold], full[values < threshold])
        assert 0 < int((weight == 0).sum()) < weight.numel(), (
            "this test is meaningful only if some weights are pruned and some are not"
        )
    x = torch.randn(30, 6)
    masked = {name: guide.mean(name) * (values < threshold) for name, values in log_alpha(guide).items()}
    assert torch.equal(net.eval()(x), model.output(masked, x))


def test_the_threshold_itself_is_pruned() -> None:
    values = {"w": torch.tensor([2.999, 3.0, 3.001, math.inf, -math.inf])}
    assert threshold_masks(values, 3.0)["w"].tolist() == [True, False, False, False, True]
    assert threshold_masks(values)["w"].tolist() == threshold_masks(values, 3.0)["w"].tolist()


def test_zero_mean_is_pruned_at_any_threshold(pair: Pair) -> None:
    _, guide = pair
    assert log_alpha(guide)["1.weight"][0, 0] == math.inf
    assert not threshold_masks(log_alpha(guide), 1e30)["1.weight"][0, 0]


@pytest.mark.parametrize(
    "make",
    [
        lambda model: GaussianDropout(model, 0.9),
        *(lambda model, per=per: VariationalDropout(model, alpha_sharing=per) for per in PER),
    ],
)
def test_removed_weights_are_pruned_at_any_threshold(make: Callable[[MLP], WeightGuide]) -> None:
    """Removed weights are pruned, even if they share their α with weights that are left."""
    guide = make(MLP((6, 20, 3)))
    masks = {name: torch.rand_like(guide.mean(name)) < 0.5 for name in guide.site_names}
    guide.apply_masks(masks)
    for threshold in (100.0, math.inf):
        kept = pruning_masks(guide, threshold)
        assert all(torch.equal(kept[name], mask) for name, mask in masks.items())
        assert [layer.pruned for layer in summarize(guide, threshold)] == [int((~mask).sum()) for mask in masks.values()]


def test_everything_removed_leaves_the_constant_predictor(pair: Pair) -> None:
    _model, guide = pair
    net = prune(guide, -100.0)
    outputs = net(torch.randn(10, 6))
    assert torch.equal(outputs, outputs[:1].expand(10, 3))
    metrics = evaluate(net, (torch.randn(30, 6), torch.arange(30) % 3))
    assert metrics.compression == math.inf
    assert metrics.error == pytest.approx(2 / 3)


def test_the_pruned_network_is_plain_and_a_copy(pair: Pair) -> None:
    model, guide = pair
    net = prune(guide)
    assert {type(module) for module in net.modules()} == {nn.Sequential, nn.Flatten, nn.Linear, nn.ReLU}
    assert [name for name, _ in net.named_parameters()] == ["1.weight", "1.bias", "3.weight", "3.bias"]
    before = [p.detach().clone() for p in (*model.parameters(), *guide.parameters())]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(7)
    assert all(map(torch.equal, before, (*model.parameters(), *guide.parameters())))


def test_nan_and_point_estimates_are_refused(pair: Pair) -> None:
    model, guide = pair
    with refuses("rule", math.nan):
        prune(guide, math.nan)
    estimate = PointEstimate(model)
    with refuses("guide", estimate, "PointEstimate", "1.weight", "Delta"):
        prune(estimate)
    with torch.no_grad():
        guide.site("3.weight").log_sigma2[0, :2] = math.nan
    with refuses("3.weight", 2, " 60 "):
        prune(guide)


def test_summary(pair: Pair) -> None:
    _, guide = pair
    for summary, (name, values) in zip(summarize(guide, 2.0), log_alpha(guide).items(), strict=True):
        assert (summary.site, summary.weights, summary.pruned) == (name, values.numel(), int((values >= 2).sum()))
        assert summary.sparsity == pytest.approx((values >= 2).float().mean().item())
        assert summary.quantiles == pytest.approx(np.quantile(values, QUANTILES, method="nearest"))


def test_a_site_of_which_no_weight_is_left_is_named(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    _, guide = pair
    with torch.no_grad():
        guide.site("3.weight").log_sigma2.fill_(20.0)
    prune(guide, PruningRule(thresholds={"3.weight": 100.0}))
    assert not caplog.records
    prune(guide)
    (message,) = caplog.messages
    assert "'3.weight'" in message
    assert "'1.weight'" not in message
