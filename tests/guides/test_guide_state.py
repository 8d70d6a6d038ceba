"""Removed weights stay removed, whichever state is loaded, into whichever guide, in whichever way."""

from __future__ import annotations

import copy
import io
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, fit
from pyro_vd.guides import WeightGuide
from pyro_vd.guides.alpha import log_alpha
from pyro_vd.networks.checks import check_state
from pyro_vd.workflow.finished_run import load_run
from pyro_vd.workflow.posterior_file import save_posterior

X, Y = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3


def pair() -> tuple[BayesianNetwork, VariationalDropout]:
    net = nn.Sequential(nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Linear(8, 3))
    return (model := BayesianNetwork(net)), VariationalDropout(model)


def random_masks(guide: WeightGuide, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(guide.site(name).theta.shape, generator=generator) < 0.5 for name in guide.site_names}


def check_removed(guide: WeightGuide, masks: dict[str, Tensor]) -> None:
    """Check that the removed weights are 0, without noise, in the mean, in draws and in the saved masks."""
    for name, mask in masks.items():
        found = guide.mask(name)
        assert found is not None
        assert torch.equal(found, mask)
        assert not guide.mean(name)[~mask].any()
        assert all(not guide()[name][~mask].any() for _ in range(3))
    if guide.learns_alpha:
        assert all((log_alpha(guide)[name][~mask] > 50).all() for name, mask in masks.items())
    assert {key for key in guide.state_dict() if key.endswith("mask")} == {f"sites.{name}.mask" for name in masks}


def directly(given: WeightGuide, other: WeightGuide, strict: bool) -> None:
    other.load_state_dict(given.state_dict(), strict=strict)


def assigned(given: WeightGuide, other: WeightGuide, strict: bool) -> None:
    other.load_state_dict(copy.deepcopy(given.state_dict()), strict=strict, assign=True)


def inside(given: WeightGuide, other: WeightGuide, strict: bool) -> None:
    model = BayesianNetwork(nn.Linear(2, 2))
    both = [nn.ModuleDict({"model": model, "guide": guide}) for guide in (given, other)]
    both[1].load_state_dict(both[0].state_dict(), strict=strict)


def through_a_file(given: WeightGuide, other: WeightGuide, strict: bool) -> None:
    torch.save(given.state_dict(), buffer := io.BytesIO())
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True), strict=strict)


def through_safetensors(given: WeightGuide, other: WeightGuide, strict: bool) -> None:
    other.load_state_dict(load(save(given.state_dict())), strict=strict)


WAYS = [directly, assigned, inside, through_a_file, through_safetensors]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_a_new_guide_takes_the_masks(way: Callable, strict: bool) -> None:
    (_, given), (_, other) = pair(), pair()
    given.apply_masks(masks := random_masks(given))
    way(given, other, strict)
    check_removed(other, masks)
    check_removed(copy.deepcopy(other), masks)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_a_state_without_masks_or_with_others_brings_nothing_back(way: Callable, strict: bool) -> None:
    (_, given), (_, other) = pair(), pair()
    other.apply_masks(own := random_masks(other))
    way(given, other, strict)
    check_removed(other, own)
    assert torch.equal(other.site("1.weight").theta, given.site("1.weight").theta), "the rest is loaded"
    given.apply_masks(masks := random_masks(given, seed=2))
    way(given, other, strict)
    check_removed(other, {name: mask & own[name] for name, mask in masks.items()})
    check_removed(given, masks)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("bad", [torch.ones(8, 5, dtype=torch.bool), torch.ones(8, 6), torch.ones(8, 6, dtype=torch.uint8)])
def test_a_mask_that_does_not_fit_is_an_error(bad: Tensor, strict: bool) -> None:
    _, guide = pair()
    state = {**guide.state_dict(), "sites.0.0.weight.mask": bad}
    with pytest.raises(RuntimeError, match=r"sites.0.0.weight.mask is .*; it must be torch.bool \(8, 6\)"):
        guide.load_state_dict(state, strict=strict)
    kind = "float" if bad.is_floating_point() else str(bad.dtype).removeprefix("torch.")
    with refuses(ANYTHING, ANYTHING, "sites.0.0.weight.mask", f"{kind} {tuple(bad.shape)}", "bool (8, 6)"):
        check_state("the file", state, guide)


STATES: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "another shape in the site": lambda state: {**state, "sites.0.0.weight.theta": torch.zeros(2, 2)},
    "another shape after it": lambda state: {**state, "sites.1.weight.theta": torch.zeros(2, 2)},
    "a key too many": lambda state: {**state, "other": torch.zeros(2)},
    "a key too many in the site": lambda state: {**state, "sites.0.0.weight.other": torch.zeros(2)},
    "a key too few": lambda state: {key: value for key, value in state.items() if key != "sites.1.weight.theta"},
    "a bad mask after it": lambda state: {**state, "sites.1.weight.mask": torch.ones(3, 8)},
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("wrong", STATES)
def test_a_state_that_is_refused_removes_nothing(wrong: str, masked: bool) -> None:
    (_, given), (_, guide) = pair(), pair()
    given.apply_masks(random_masks(given))
    if masked:
        guide.apply_masks(random_masks(guide, seed=2))
    before = {name: mask if mask is None else mask.clone() for name in guide.site_names for mask in [guide.mask(name)]}
    with pytest.raises(RuntimeError):
        guide.load_state_dict(STATES[wrong](given.state_dict()))
    for name, mask in before.items():
        found = guide.mask(name)
        assert (found is None) == (mask is None)
        assert found is None or (mask is not None and torch.equal(found, mask))


def test_a_state_that_is_refused_before_the_guide_is_reached_removes_nothing() -> None:
    (model, given), (other, guide) = pair(), pair()
    given.apply_masks(random_masks(given))
    both, others = (nn.ModuleDict({"model": a, "guide": b}) for a, b in ((model, given), (other, guide)))
    with pytest.raises(RuntimeError):
        others.load_state_dict({**both.state_dict(), "model.net.1.bias": torch.zeros(2)})
    assert all(guide.mask(name) is None for name in guide.site_names)


def test_checkpoints_keep_them(tmp_path: Path) -> None:
    options = {"batch_size": 20, "checkpoint": tmp_path / "state", "progress": False}
    (_model, given), (_again, guide) = pair(), pair()
    given.apply_masks(masks := random_masks(given))
    fit(given, (X, Y), epochs=2, **options)
    fit(guide, (X, Y), epochs=2, resume=True, **options)
    check_removed(guide, masks)
    assert all(torch.equal(value, given.state_dict()[key]) for key, value in guide.state_dict().items())


def test_runs_keep_them(tmp_path: Path, finished_run: Path) -> None:
    shutil.copytree(finished_run, run := tmp_path / "run")
    before = load_run(run)
    before.guide.apply_masks(masks := random_masks(before.guide))
    save_posterior(run, before.guide)
    check_removed(load_run(run).guide, masks)


def test_the_threshold_of_the_training_goes_with_the_state(tmp_path: Path) -> None:
    (_, guide), (_, other) = pair(), pair()
    fit(guide, (X, Y), epochs=1, progress=False, train_threshold=2.5)
    assert guide.train_threshold == 2.5
    torch.save(guide.state_dict(), tmp_path / "state")
    other.load_state_dict(torch.load(tmp_path / "state", weights_only=True))
    assert other.train_threshold == 2.5
    assert copy.deepcopy(other).train_threshold == 2.5
    fit(other, (X, Y), epochs=1, progress=False)
    assert other.train_threshold is None, "fit sets the threshold of its own training"
    guide.load_state_dict(other.state_dict())
    assert guide.train_threshold is None


@pytest.mark.parametrize("value", [torch.tensor(math.nan), torch.zeros(2), torch.tensor(101.0)])
def test_a_state_with_another_threshold_is_refused_whole(value: torch.Tensor) -> None:
    _, guide = pair()
    guide.train_threshold = 1.5
    state = {**guide.state_dict(), "train_threshold": value}
    with pytest.raises(RuntimeError, match="train_threshold"):
        guide.load_state_dict(state)
    assert guide.train_threshold == 1.5


def test_a_training_that_is_refused_leaves_the_threshold() -> None:
    _, guide = pair()
    guide.train_threshold = 1.5
    with refuses(ANYTHING, ANYTHING, " 3 "):
        fit(guide, (X, Y + 1), epochs=1, progress=False, train_threshold=2.0)
    assert guide.train_threshold == 1.5


def test_a_state_with_some_entries_leaves_the_threshold() -> None:
    _, guide = pair()
    guide.train_threshold = 1.5
    guide.load_state_dict({}, strict=False)
    assert guide.train_threshold == 1.5
    with torch.device("meta"):
        assert not guide.state_dict()["train_threshold"].is_meta
