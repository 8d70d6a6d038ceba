"""Properties of the masks of guides with random log α: monotone in the threshold, consistent, and permanent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples
from torch import Tensor, nn

from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    PruningRule,
    VariationalDropout,
    choose_threshold,
    compact,
    fine_tune,
    log_alpha,
    posterior_mean,
    prune,
)
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.guides import GaussianDropout, LogNormalDropout, PointEstimate, WeightGuide
from pyro_vd.pruning import pruning_masks, threshold_masks

GUIDES: dict[str, Callable[[BayesianNetwork], WeightGuide]] = {
    **{
        f"variational by {per}": lambda model, per=per: VariationalDropout(model, alpha_sharing=per)
        for per in ("weight", "row", "column", "layer")
    },
    "gaussian": lambda model: GaussianDropout(model, 0.9),
    "group": GroupVariationalDropout,
    "log-normal": LogNormalDropout,
    "log-normal with noise on weights": lambda model: LogNormalDropout(model, weight_noise=True),
}
THRESHOLDS = st.floats(-30, 30) | st.sampled_from([-math.inf, math.inf, 3.0])


@dataclass(frozen=True)
class Pair:
    """A model and its guide."""

    kind: str
    model: BayesianNetwork
    guide: WeightGuide

    def new_guide(self) -> WeightGuide:
        """Return a new guide of the same kind for the same model."""
        return GUIDES[self.kind](self.model)


@st.composite
def pairs(draw: st.DrawFn, kinds: Any = tuple(GUIDES)) -> Pair:
    """Draw a small network, and a guide with random parameters, of which some means are exactly zero."""
    kind = draw(st.sampled_from(kinds))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    inputs, hidden = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    net: nn.Module = nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, 3))
    if draw(st.booleans()):
        convolution = nn.Conv2d(inputs, hidden, draw(st.integers(1, 2)))
        net = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(hidden, 3))
    model = BayesianNetwork(net, prior=NormalJeffreys) if kind == "group" else BayesianNetwork(net)
    guide = GUIDES[kind](model)
    zeros = draw(st.sampled_from([0.0, 0.3]))
    with torch.no_grad():
        for name, parameter in guide.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            if name.endswith("theta"):
                parameter.copy_(values * (torch.rand(parameter.shape, generator=generator) >= zeros))
            else:
                parameter.copy_(4 * values - 2 if "log" in name else values)
    return Pair(kind, model, guide)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(map(torch.equal, a.values(), b.values()))


def within(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Return whether ``b`` keeps every weight that ``a`` keeps."""
    return list(a) == list(b) and all(bool((~a[name] | b[name]).all()) for name in a)


def examples_of(pair: Pair, number: int) -> tuple[Tensor, Tensor]:
    """Return inputs and classes for a pair."""
    layer = pair.model.layer(pair.model.weight_names[0])
    shape = (layer.in_features,) if isinstance(layer, nn.Linear) else (layer.in_channels, 3, 3)
    x = torch.randn(number, *shape, generator=torch.Generator().manual_seed(number))
    return x, torch.arange(number) % 3


@examples(80)
@given(pair=pairs(), thresholds=st.tuples(THRESHOLDS, THRESHOLDS))
def test_masks_are_monotone_and_consistent(pair: Pair, thresholds: tuple[float, float]) -> None:
    low, high = sorted(thresholds)
    alphas = log_alpha(pair.guide)
    few, many = pruning_masks(pair.guide, low), pruning_masks(pair.guide, high)
    assert within(few, many)
    assert same(few, threshold_masks(alphas, low))
    assert all(torch.equal(few[name], alphas[name] < low) for name in few)
    assert not any(mask.any() for mask in pruning_masks(pair.guide, -math.inf).values())
    if pair.guide.ranks_inputs:
        limits = [2] * len(few)
        limited = pruning_masks(pair.guide, PruningRule(high, limits))
        assert within(limited, many)
        assert same(limited, pruning_masks(pair.guide, PruningRule(high, limits)))
        assert within(pruning_masks(pair.guide, PruningRule(high, [1] * len(few))), limited)
        assert within(pruning_masks(pair.guide, PruningRule(low, limits)), limited)


@examples(60)
@given(pair=pairs(), threshold=THRESHOLDS)
def test_zeros_of_the_pruned_network_are_those_of_the_masks(pair: Pair, threshold: float) -> None:
    before = {name: tensor.clone() for name, tensor in pair.guide.state_dict().items()}
    masks, mean = pruning_masks(pair.guide, threshold), posterior_mean(pair.guide)
    net = prune(pair.guide, threshold)
    for name, mask in masks.items():
        weight, whole = net.get_parameter(name), mean.get_parameter(name)
        assert torch.equal(weight, whole.where(mask, 0))
        assert torch.equal(weight != 0, mask & (whole != 0))
    others = {name for name, _ in net.named_parameters()} - set(masks)
    assert all(torch.equal(net.get_parameter(name), mean.get_parameter(name)) for name in others)
    assert same(dict(pair.guide.state_dict()), before), "pruning changes nothing in the guide"
    x, _ = examples_of(pair, 4)
    torch.testing.assert_close(compact(net, x)(x), net.eval()(x), rtol=1e-4, atol=1e-4)


@examples(60)
@given(pair=pairs(), thresholds=st.tuples(THRESHOLDS, THRESHOLDS))
def test_removed_weights_stay_removed(pair: Pair, thresholds: tuple[float, float]) -> None:
    first, second = thresholds
    guide, masks = pair.guide, pruning_masks(pair.guide, first)
    pruned = prune(guide, first)
    guide.apply_masks(masks)
    assert same({name: guide.mask(name) for name in masks}, masks)
    assert same(dict(prune(guide, first).state_dict()), dict(pruned.state_dict())), "pruning twice is pruning once"
    assert same(pruning_masks(guide, first), masks)
    assert within(pruning_masks(guide, second), masks), "no threshold brings a weight back"
    state = {name: tensor.clone() for name, tensor in guide.state_dict().items()}
    guide.apply_masks(masks)
    assert same(dict(guide.state_dict()), state)
    other = threshold_masks(log_alpha(pair.new_guide()), second)
    guide.apply_masks(other)
    assert same({name: guide.mask(name) for name in masks}, {name: masks[name] & other[name] for name in masks})
    for name in masks:
        assert not guide.mean(name)[~masks[name]].any()
        draw = guide.posterior(name).rsample()
        assert not draw[~(masks[name] & other[name])].any()


@examples(60)
@given(pair=pairs(), thresholds=st.tuples(THRESHOLDS, THRESHOLDS))
def test_masks_travel_with_the_state(pair: Pair, thresholds: tuple[float, float]) -> None:
    guide, plain = pair.guide, pair.new_guide()
    without = {name: tensor.clone() for name, tensor in guide.state_dict().items()}
    guide.apply_masks(masks := pruning_masks(guide, thresholds[0]))
    fresh = pair.new_guide()
    fresh.load_state_dict(guide.state_dict())
    assert same({name: fresh.mask(name) for name in masks}, masks)
    assert same(log_alpha(fresh), log_alpha(guide))
    assert same({name: fresh.mean(name) for name in masks}, {name: guide.mean(name) for name in masks})
    fresh.load_state_dict(without)
    assert same({name: fresh.mask(name) for name in masks}, masks), "a state without masks brings no weight back"
    plain.apply_masks(other := pruning_masks(plain, thresholds[1]))
    plain.load_state_dict(guide.state_dict())
    assert same({name: plain.mask(name) for name in masks}, {name: masks[name] & other[name] for name in masks})


@examples(20)
@given(pair=pairs(kinds=("variational by weight", "variational by column", "group")), rise=st.floats(0, 1))
def test_the_chosen_threshold_is_the_lowest_that_is_good_enough(pair: Pair, rise: float) -> None:
    choice = choose_threshold(pair.guide, examples_of(pair, 12), rise, candidates=[-6, 0, 3, 60])
    trials = choice.trials
    assert [trial.threshold for trial in trials] == [-6, 0, 3, 60]
    assert all(a.compression >= b.compression for a, b in pairwise(trials))
    assert all(a.nonzero_parameters <= b.nonzero_parameters for a, b in pairwise(trials))
    good = [trial.threshold for trial in trials if trial.error <= choice.unpruned_error + rise + 1e-9]
    assert choice.threshold == min(good)
    assert same(pruning_masks(pair.guide, choice), pruning_masks(pair.guide, choice.threshold))


@examples(12)
@given(pair=pairs(), threshold=st.floats(-6, 3))
def test_fine_tuning_never_revives(pair: Pair, threshold: float) -> None:
    net = prune(pair.guide, threshold)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    fine_tune(net, examples_of(pair, 12), epochs=2, batch_size=6, lr=0.1, progress=False)
    for name in pair.model.weight_names:
        assert not net.get_parameter(name)[before[name] == 0].any()
    assert any(not torch.equal(parameter, before[name]) for name, parameter in net.named_parameters()), "it has learnt"


@examples(50)
@given(pair=pairs(), threshold=THRESHOLDS)
def test_a_point_estimate_takes_the_masks_of_any_guide(pair: Pair, threshold: float) -> None:
    masks = pruning_masks(pair.guide, threshold)
    estimate = PointEstimate(pair.model, masks)
    for name, mask in masks.items():
        assert torch.equal(estimate.mean(name), pair.model.initial_weights[name].where(mask, 0))
