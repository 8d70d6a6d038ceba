"""A compression as the target of a training: it is reached without a number being tuned, and belongs to the state."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support import refuses
from torch import nn

from pyro_vd import BayesianNetwork, KLWeight, PruningRule, VariationalDropout, compact, fit, load_data, prune
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.guides import GroupVariationalDropout, PointEstimate, WeightGuide
from pyro_vd.networks import mlp
from pyro_vd.networks.sizes import weight_counts
from pyro_vd.pruning.gauge import gauge_of
from pyro_vd.pruning.rule import pruning_masks
from pyro_vd.training import Callback, TrainingSpec, TrainingState
from pyro_vd.workflow import Recipe
from pyro_vd.workflow.recipe_files import parse_recipe

DIGITS = load_data("digits")
TRAIN, VALIDATION = DIGITS.split(300)
OPTIONS: dict[str, Any] = {"lr": 3e-3, "progress": False}


class StopAfter(Callback):
    """Ends a training after some epochs, without an error."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        if record.epoch == self._epochs:
            state.stop()


def weights(hidden: tuple[int, ...] = (100, 50), seed: int = 0, **options: Any) -> VariationalDropout:
    torch.manual_seed(seed)
    return VariationalDropout(BayesianNetwork(mlp([64, *hidden, 10])), **options)


def units(seed: int = 0) -> GroupVariationalDropout:
    torch.manual_seed(seed)
    model = BayesianNetwork(mlp([64, 100, 50, 10]), prior=NormalJeffreys)
    return GroupVariationalDropout(model, log_sigma2=-4.0, weight_noise=False, example=TRAIN[0][:2])


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (20, {}),
        *(
            pytest.param(target, options, marks=pytest.mark.slow)
            for target, options in [
                (5, {}),
                (100, {}),
                (20, {"shrink": True}),
                (10, {"rule": 1.0, "train_threshold": 2.0}),
            ]
        ),
        *(
            pytest.param(target, options, marks=pytest.mark.long)
            for target, options in [
                (50, {"epochs": 100}),
                (20, {"batch_size": 25, "accumulate": 4}),
                (20, {"lr": 1e-3, "epochs": 120}),
            ]
        ),
    ],
)
def test_the_target_is_reached(target: float, options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    result = fit(weights(), TRAIN, **{**OPTIONS, "epochs": 60, "kl_weight": KLWeight(target=target), "rule": 3.0, **options})
    assert result.history[-1].compression == pytest.approx(target, rel=0.1)
    assert not caplog.records
    assert result.skipped == 0


@pytest.mark.parametrize("target", [20, pytest.param(5, marks=pytest.mark.slow)])
def test_with_units_the_compact_network_has_the_compression(target: float) -> None:
    guide = units()
    options = {**OPTIONS, "rule": 0.0}
    fit(guide, TRAIN, epochs=80, kl_weight=KLWeight(target=target), **options)
    small = compact(prune(guide, 0.0), TRAIN[0][:2])
    left = sum(weight.numel() for weight in small.parameters() if weight.ndim >= 2)
    assert weight_counts(guide)[0] / left == pytest.approx(target, rel=0.1)


def test_a_target_that_is_missed_is_said(caplog: pytest.LogCaptureFixture) -> None:
    result = fit(weights((20,)), TRAIN, epochs=2, kl_weight=KLWeight(target=50), **OPTIONS)
    assert result.history[-1].compression < 5
    assert "50" in caplog.text
    assert "less" in caplog.text


@pytest.mark.parametrize("target", [1, 1.05])
def test_a_target_that_is_almost_reached_from_the_start_is_not_said_to_be_missed(
    target: float, caplog: pytest.LogCaptureFixture
) -> None:
    guide = weights((), log_sigma2=-20.0)
    result = fit(guide, TRAIN, epochs=2, kl_weight=KLWeight(target=target), progress=False, lr=1e-4)
    assert 1 <= result.history[-1].compression < 1.05
    assert not caplog.records


def test_a_compression_beyond_the_target_is_quoted_without_advice_that_removes_more(caplog: pytest.LogCaptureFixture) -> None:
    guide = weights(())
    with torch.no_grad():
        guide.site(guide.site_names[0]).log_sigma2[:5] = 9.0
    result = fit(guide, TRAIN, epochs=1, kl_weight=KLWeight(target=1.5), **OPTIONS)
    assert result.history[-1].compression == pytest.approx(2, rel=0.1)
    assert f"{result.history[-1].compression:.3g}, more" in caplog.text
    assert "train for more" not in caplog.text


def test_the_compression_grows_along_the_ramp_and_beta_is_zero_before() -> None:
    result = fit(weights(), TRAIN, epochs=40, kl_weight=KLWeight(start=4, end=36, target=10), rule=3.0, **OPTIONS)
    assert [record.kl_weight for record in result.history[:4]] == [0] * 4
    for record in result.history[16:]:
        wanted = 10 ** (1 - (1 - min(1, (record.epoch - 4) / 32)) ** 3)
        assert record.compression == pytest.approx(wanted, rel=0.25), record.epoch


def conv() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Conv2d(8, 12, 3), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(192, 20), nn.ReLU(), nn.Linear(20, 10)),
    )


def drawn(guide: WeightGuide, seed: int) -> WeightGuide:
    """The guide with log α of all kinds, so that thresholds around 0 remove some."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in guide.named_parameters():
            parameter.copy_(torch.randn_like(parameter) if name.endswith("sigma2") else torch.rand_like(parameter) + 0.5)
    return guide


@pytest.mark.parametrize("compression", [1.5, 3, 10])
@pytest.mark.parametrize("kind", ["weights", "units", "filters"])
def test_the_gauge_says_the_threshold_of_a_compression(kind: str, compression: float) -> None:
    """What pruning and compaction leave there is as wanted; one more weight or unit would be too many."""
    x = torch.randn(2, 1, 28, 28) if kind == "filters" else TRAIN[0][:2]
    if kind == "weights":
        guide: WeightGuide = weights((20, 10))
    else:
        torch.manual_seed(0)
        net = conv() if kind == "filters" else mlp([64, 30, 20, 10])
        guide = GroupVariationalDropout(BayesianNetwork(net, prior=NormalJeffreys), weight_noise=False, example=x)
    drawn(guide, 1)
    if kind == "filters":  # without its one channel, the image, nothing would be left
        guide.site("0.weight").z_log_sigma2.data.fill_(-9)
    gauge, (total, _) = gauge_of(guide, PruningRule(0.3), x), weight_counts(guide)

    def left(shift: float) -> int:
        pruned = prune(guide, 0.3 + shift)
        small = pruned if kind == "weights" else compact(pruned, x)
        return sum(int(w.count_nonzero()) if kind == "weights" else w.numel() for w in small.parameters() if w.ndim >= 2)

    shift = gauge.shift_for(compression)
    assert left(shift - 1e-6) <= total / compression * 1.01
    assert left(shift + 1e-3) > total / compression * 0.8
    assert gauge.compression() == pytest.approx(total / left(0.0))


def test_the_gauge_of_units_leaves_a_unit_of_every_layer() -> None:
    """The image has one channel, of high log α; no threshold that the gauge says removes it, or all units of a layer."""
    torch.manual_seed(0)
    x = torch.randn(2, 1, 28, 28)
    guide = drawn(GroupVariationalDropout(BayesianNetwork(conv(), prior=NormalJeffreys), weight_noise=False, example=x), 1)
    guide.site("0.weight").z_log_sigma2.data.fill_(-1)
    gauge = gauge_of(guide, PruningRule(0.0), x)
    for compression in (1.5, 10, 1e6):
        pruned = prune(guide, gauge.shift_for(compression))
        assert all(weight.any() for weight in pruned.parameters() if weight.ndim >= 2), compression


@pytest.mark.parametrize("compression", [1.5, 100, 1e9])
def test_the_gauge_of_weights_leaves_a_weight_of_every_layer(compression: float) -> None:
    """The second layer would be empty long before the first one reaches the compression."""
    guide = drawn(weights((20,)), 3)
    first, second = map(guide.site, guide.site_names)
    second.log_sigma2.data += 4
    gauge = gauge_of(guide, PruningRule(9.0), TRAIN[0][:2])
    masks = pruning_masks(guide, PruningRule(9.0 + gauge.shift_for(compression)))
    assert all(mask.any() for mask in masks.values())
    assert compression == 1.5 or int(masks[guide.site_names[1]].sum()) == 1, "as few as can be"
    assert first.log_sigma2.mean() < second.log_sigma2.mean()


@pytest.mark.parametrize("kind", ["weights", "units"])
def test_a_layer_of_which_nothing_is_left_does_not_stop_the_control_of_the_others(kind: str) -> None:
    guide = drawn(weights((20, 10)) if kind == "weights" else units(), 3)
    gauge = gauge_of(guide, PruningRule(9.0), TRAIN[0][:2])
    before = gauge.shift_for(4)
    assert before < 0
    last = guide.site(guide.site_names[-1])
    (last.log_sigma2 if kind == "weights" else last.z_log_sigma2).data.fill_(40)
    assert gauge.shift_for(4) < 0, "the others have not reached it"


def test_what_a_threshold_of_a_site_keeps_is_not_held_at_zero() -> None:
    guide = weights((20,))
    rule = PruningRule(3.0, thresholds={"1.weight": 5.0})
    fit(guide, TRAIN, epochs=1, kl_weight=KLWeight(target=1.0), rule=rule, **OPTIONS)
    assert guide.train_threshold == 5.0
    fit(guide, TRAIN, epochs=1, kl_weight=KLWeight(target=1.0), rule=PruningRule(3.0, thresholds={"*": 1.0}), **OPTIONS)
    assert guide.train_threshold == 1.0, "3 is the threshold of no site"
    fit(guide, TRAIN, epochs=1, kl_weight=KLWeight(target=1.0), rule=rule, train_threshold=4.0, **OPTIONS)
    assert guide.train_threshold == 4.0


def test_a_resumed_training_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    options: dict[str, Any] = {**OPTIONS, "epochs": 6, "kl_weight": KLWeight(target=8), "shrink": True, "batch_size": 200}
    whole, stopped = weights((20,)), weights((20,))
    torch.manual_seed(5)
    expected = fit(whole, TRAIN, **options)
    torch.manual_seed(5)
    fit(stopped, TRAIN, **options, checkpoint=(path := tmp_path / "c.pt"), callbacks=[StopAfter(3)])
    resumed = fit(weights((20,)), TRAIN, **options, checkpoint=path, resume=True)
    assert [replace(r, seconds=0) for r in resumed.history] == [replace(r, seconds=0) for r in expected.history]
    assert len({record.kl_weight for record in resumed.history}) > 3


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ({"target": 0.9}, "target", 0.9),
        ({"target": math.nan}, "target", math.nan),
        ({"target": "20"}, "target", "20"),
        ({"target": 20, "value": 0.5}, "value", 0.5),
        ({"target": 20, "start": 3, "end": 2}, "end", 2),
    ],
)
def test_bad_targets_are_refused(arguments: dict[str, Any], name: str, value: object) -> None:
    with refuses(name, value):
        KLWeight(**arguments)


def test_without_an_end_the_target_may_start_late_but_not_after_the_last_epoch() -> None:
    assert KLWeight(target=5, start=10).settled(20) == pytest.approx(18)
    with refuses("kl_weight.start", 10, "epochs (=10)"):
        TrainingSpec(epochs=10, kl_weight=KLWeight(target=5, start=10))
    with refuses("kl_weight.end", 11, "epochs (=10)"):
        TrainingSpec(epochs=10, kl_weight=KLWeight(target=5, end=11))


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ({"finetune": {"kl_weight": {"target": 5}}}, "finetune.kl_weight.target"),
        ({"train": {"kl_weight": {"target": 5}}, "prune": {"max_inputs": [5, 5]}}, "train.kl_weight.target"),
        ({"train": {"kl_weight": {"target": 5}, "guide": {"kind": "none"}}}, "train.kl_weight.target"),
    ],
)
def test_a_recipe_whose_target_cannot_be_controlled_is_refused(content: dict[str, Any], name: str) -> None:
    with refuses(name, 5):
        parse_recipe(content)


def test_what_cannot_be_controlled_is_refused() -> None:
    options: dict[str, Any] = {"epochs": 1, "progress": False, "kl_weight": KLWeight(target=9)}
    with refuses("kl_weight.target", 9, "PointEstimate"):
        fit(PointEstimate(BayesianNetwork(mlp([64, 10]))), TRAIN, **options)
    with refuses("kl_weight.target", 9, "(5,)"):
        fit(weights(()), TRAIN, rule=PruningRule(max_inputs=[5]), **options)
    with refuses("kl_weight.target", 9, "inf"):
        fit(weights(()), TRAIN, rule=math.inf, **options)


def test_a_recipe_takes_it() -> None:
    recipe = parse_recipe({"train": {"kl_weight": {"target": 50}}})
    assert isinstance(recipe, Recipe)
    assert recipe.train.kl_weight == KLWeight(target=50)
    with refuses("train.kl_weight.target", 0.5):
        parse_recipe({"train": {"kl_weight": {"target": 0.5}}})


def test_restore_best_compares_the_epochs_in_which_the_target_is_reached() -> None:
    options: dict[str, Any] = {**OPTIONS, "restore_best": True}
    result = fit(weights((20,)), TRAIN, VALIDATION, epochs=10, kl_weight=KLWeight(target=2), **options)
    assert result.epoch >= 8
