"""The choice of a threshold depends on the validation data and the allowed error; fine-tuning then keeps zeros zero."""

from __future__ import annotations

import math

import pytest
import torch
from support import refuses
from torch import Tensor, nn

from pyro_vd import VariationalDropout, choose_threshold, fine_tune, fit, posterior_mean, prune
from pyro_vd.evaluation.score import score_of
from pyro_vd.models import MLP
from pyro_vd.networks.sizes import compression
from pyro_vd.pruning.threshold_choice import CANDIDATES

Pair = tuple[MLP, VariationalDropout]


def blobs(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return examples of three well separated classes in two of six dimensions."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    centres = torch.tensor([[2.0, 0, 0, 0, 0, 0], [0, 2, 0, 0, 0, 0], [-2, -2, 0, 0, 0, 0]])
    return centres[y] + 0.3 * torch.randn(n, 6, generator=generator), y


@pytest.fixture(scope="module")
def trained() -> Pair:
    """Return a trained network, for the choice of the threshold."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = MLP((6, 20, 3))
    guide = VariationalDropout(model, log_sigma2=-6)
    fit(guide, blobs(120), epochs=60, batch_size=40, lr=0.02, progress=False)
    with torch.no_grad():
        for name in guide.site_names:
            guide.site(name).log_sigma2 += 6.5  # so that the default threshold does damage
    return model, guide


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
        assert choice.threshold > min(CANDIDATES), "this test is meaningful only if the lowest threshold does damage"


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
    with refuses("max_error_rise", 0.0, "-50", "-40", "0.0000"):
        choose_threshold(guide, validation, 0.0, candidates=[-40, -50])
    guide.train_threshold = 3.0
    try:
        with refuses("candidates", [4, 5], "3.0"):
            choose_threshold(guide, validation, candidates=[4, 5])
    finally:
        guide.train_threshold = None
    for bad in (-0.1, 1.1, math.nan):
        with refuses("max_error_rise", bad, "<= 1"):
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
