"""Pruning: the right weights go, the threshold is chosen on the given data alone, fine-tuning keeps zeros zero."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pyro_vd import InputError, VariationalDropout, choose_threshold, evaluate, fine_tune, fit, log_alpha, posterior_mean, prune
from pyro_vd.evaluation.score import score_of
from pyro_vd.guides import GaussianDropout, PointEstimate, WeightGuide
from pyro_vd.models import MLP
from pyro_vd.networks.sizes import compression
from pyro_vd.posterior import summarize
from pyro_vd.posterior.summary import QUANTILES
from pyro_vd.pruning import pruning_masks, threshold_masks
from pyro_vd.pruning.threshold_choice import CANDIDATES

PER: tuple[Any, ...] = ("weight", "row", "column", "layer")
Pair = tuple[MLP, VariationalDropout]


def blobs(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Three well separated classes in two of six dimensions."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.tensor([[2.0, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0], [-2, -2, 0, 0, 0, 0]])
    return centres[y] + 0.3 * torch.randn(n, 6, generator=generator), y


@pytest.fixture
def pair() -> Pair:
    """A network with a wide range of log α: θ of all sizes, log σ² of all sizes, one θ exactly 0."""
    model = MLP((6, 20, 3))
    guide = VariationalDropout(model)
    with torch.no_grad():
        for name in guide.site_names:
            site = guide.site(name)
            site.log_sigma2.uniform_(-12, 0)
        guide.site("1.weight").theta[0, 0] = 0
    return model, guide


@pytest.fixture(scope="module")
def trained() -> Pair:
    """A trained network, for the choice of the threshold."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = MLP((6, 20, 3))
    guide = VariationalDropout(model, log_sigma2=-6)
    fit(guide, blobs(120), epochs=60, batch_size=40, lr=0.02, progress=False)
    with torch.no_grad():
        for name in guide.site_names:
            guide.site(name).log_sigma2 += 6.5  # so that the default threshold does damage
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
        assert 0 < int((weight == 0).sum()) < weight.numel(), "some go and some stay, or this test shows nothing"
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
    """Also where they share their α with weights that are left."""
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
    metrics = evaluate(net, blobs(30))
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
    with pytest.raises(InputError, match=r"rule \(=nan\)"):
        prune(guide, math.nan)
    with pytest.raises(InputError, match="PointEstimate has no log α"):
        prune(PointEstimate(model))
    with torch.no_grad():
        guide.site("3.weight").log_sigma2[0, :2] = math.nan
    with pytest.raises(InputError, match=r"'3\.weight': 2 of 60"):
        prune(guide)


def test_summary(pair: Pair) -> None:
    _, guide = pair
    for summary, (name, values) in zip(summarize(guide, 2.0), log_alpha(guide).items(), strict=True):
        assert (summary.site, summary.weights, summary.pruned) == (name, values.numel(), int((values >= 2).sum()))
        assert summary.sparsity == pytest.approx((values >= 2).float().mean().item())
        assert summary.quantiles == pytest.approx(np.quantile(values, QUANTILES, method="nearest"))


@pytest.mark.parametrize("rise", [0.0, 0.05, 0.3, 1.0])
def test_choose_threshold_takes_the_lowest_that_keeps_within(trained: Pair, rise: float) -> None:
    _model, guide = trained
    x, y = blobs(90, seed=1)
    validation = x, y.where(torch.arange(90) % 10 != 0, 0)  # some labels are wrong, so that the error is not 0
    choice = choose_threshold(guide, validation, rise)
    assert [trial.threshold for trial in choice.trials] == sorted(CANDIDATES)
    assert choice.unpruned_error == score_of(posterior_mean(guide), validation).value > 0
    assert score_of(prune(guide), validation).value > choice.unpruned_error
    for trial in choice.trials:
        net = prune(guide, trial.threshold)
        assert (trial.error, trial.compression) == (score_of(net, validation).value, compression(net))
    good = [trial.threshold for trial in choice.trials if trial.error <= choice.unpruned_error + rise + 1e-9]
    assert choice.threshold == min(good)
    if rise == 1.0:
        assert choice.threshold == min(CANDIDATES)
    if rise == 0.0:
        assert choice.threshold > min(CANDIDATES), "the lowest does damage, or this test shows nothing"


def test_choose_threshold_depends_on_the_given_data(trained: Pair) -> None:
    _model, guide = trained
    x, _ = blobs(90, seed=1)
    best = choose_threshold(guide, (x, posterior_mean(guide)(x).argmax(-1)), 0.0)
    constant = choose_threshold(guide, (x, prune(guide, -100.0)(x).argmax(-1)), 0.0)
    assert constant.threshold == min(CANDIDATES)
    assert best.threshold > constant.threshold


def test_choose_threshold_refuses(trained: Pair) -> None:
    _model, guide = trained
    x, _ = blobs(90, seed=1)
    validation = x, posterior_mean(guide)(x).argmax(-1)
    with pytest.raises(InputError, match=r"no threshold from -50 to -40 .* within 0.0 of 0.0000"):
        choose_threshold(guide, validation, 0.0, candidates=[-40, -50])
    for bad in (-0.1, 1.1, math.nan):
        with pytest.raises(InputError, match=r"max_error_rise \(="):
            choose_threshold(guide, validation, bad)


def test_fine_tune_keeps_zeros_and_improves(trained: Pair) -> None:
    _model, guide = trained
    net = prune(guide, 4.0)
    x, y = data = blobs(120)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    loss = nn.functional.cross_entropy
    loss_before = loss(net(x), y).item()
    result = fine_tune(net, data, epochs=20, batch_size=40, lr=0.02, progress=False)
    assert loss(net(x), y) < 0.9 * loss_before
    assert [record.phase for record in result.history] == ["finetune"] * 20
    for name, parameter in net.named_parameters():
        if name.endswith("weight"):
            assert torch.equal(parameter == 0, before[name] == 0)
            assert int((parameter == 0).sum()) > 0
        assert not torch.equal(parameter, before[name])
