"""Networks registered in another order than they run in: sites, sizes, limits and summaries are in the order of execution."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_network import RandomNetwork, Step
from strategies import Case, examples, networks
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, GroupVariationalDropout, PruningRule, VariationalDropout, log_alpha, prune, surviving_units
from pyro_vd.compaction import unit_counts
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.networks.layer_registry import kind_of
from pyro_vd.networks.layers import named_weights, widths
from pyro_vd.networks.sizes import OTHERS, layer_sizes
from pyro_vd.posterior import summarize
from pyro_vd.pruning import pruning_masks
from pyro_vd.workflow import inspect_layers


def executed(net: nn.Module, x: Tensor) -> list[str]:
    """Names of the weights of the layers that have one, in the order in which a forward pass meets them; each once."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    met: dict[str, None] = {}
    layers = [module for module in net.modules() if kind_of(module) is not None]
    handles = [layer.register_forward_pre_hook(lambda module, _: met.setdefault(names[id(module.weight)])) for layer in layers]
    with torch.no_grad():
        net(x.clone())
    for handle in handles:
        handle.remove()
    return list(met)


@st.composite
def chains(draw: st.DrawFn) -> Case:
    """Linear layers one after another, registered in any order: 2 to 5 of them, with 2 to 6 units and activations between."""
    sizes = draw(st.lists(st.integers(2, 6), min_size=3, max_size=6))
    parts = {f"layer{index}": nn.Linear(*pair) for index, pair in enumerate(pairwise(sizes))}
    steps = []
    for name in parts:
        steps += [Step(name, (len(steps),)), Step("tanh", (len(steps) + 1,))]
    net = RandomNetwork(steps, dict(draw(st.permutations(list(parts.items())))))
    with torch.no_grad():
        for parameter, seed in zip(net.parameters(), draw(st.permutations(range(12))), strict=False):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)))
    return Case(net.double(), (sizes[0],))


@examples(80)
@given(case=networks(trouble=False, classes=3))
def test_sites_and_sizes_follow_the_execution(case: Case) -> None:
    wanted = executed(case.net, case.batch(2))
    assert [name for name, _ in named_weights(case.net)] == wanted
    model = BayesianNetwork(case.net)
    assert model.weight_names == wanted
    guide = VariationalDropout(model)
    assert list(log_alpha(guide)) == guide.site_names == wanted
    assert [summary.site for summary in summarize(guide)] == wanted
    assert list(pruning_masks(guide)) == wanted
    for sites in (None, model.weight_names):
        layers = layer_sizes(case.net, sites)
        assert [layer.site for layer in layers if layer.site != OTHERS] == wanted
        sizes = [(case.net.get_parameter(name).numel(), int(case.net.get_parameter(name).count_nonzero())) for name in wanted]
        assert [(layer.weights, layer.nonzero) for layer in layers[: len(wanted)]] == sizes


@examples(40)
@given(case=chains(), data=st.data(), grouped=st.booleans())
def test_limits_are_those_of_the_layers_in_order(case: Case, data: st.DataObject, grouped: bool) -> None:
    model = BayesianNetwork(case.net, prior=NormalJeffreys) if grouped else BayesianNetwork(case.net)
    guide = GroupVariationalDropout(model) if grouped else VariationalDropout(model)
    with torch.no_grad():
        for index, parameter in enumerate(guide.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index)))
    limits = data.draw(st.lists(st.integers(0, 7), min_size=len(model.weight_names), max_size=len(model.weight_names)))
    masks = pruning_masks(guide, PruningRule(math.inf, limits))
    assert list(masks) == [f"layer{index}.weight" for index in range(len(limits))]
    inputs = widths(case.net)[:-1]
    kept = [int(mask.any(0).sum()) for mask in masks.values()]
    assert kept == [min(pair) for pair in zip(limits, inputs, strict=True)]
    for name, mask in masks.items():
        least = log_alpha(guide)[name].amin(0)
        inside, outside = least[mask.any(0)], least[~mask.any(0)]
        assert not len(inside) or not len(outside) or inside.max() <= outside.min()
    net = prune(guide, PruningRule(math.inf, limits))
    assert all(torch.equal(net.get_parameter(name) != 0, mask) for name, mask in masks.items())
    if 0 not in limits:
        assert unit_counts(surviving_units(net, case.batch(2))) == kept


@examples(25)
@given(case=chains(), threshold=st.floats(-8, 0))
def test_what_is_said_of_a_layer_is_of_that_layer(case: Case, threshold: float) -> None:
    model = BayesianNetwork(case.net)
    guide = VariationalDropout(model, log_sigma2=-4)
    data = case.batch(5), torch.zeros(5, dtype=torch.int64)
    layers = inspect_layers(guide, data, threshold)
    assert [layer.site for layer in layers] == executed(case.net, data[0])
    assert [(layer.inputs, layer.units) for layer in layers] == list(pairwise(widths(case.net)))
    masks = pruning_masks(guide, threshold)
    for layer in layers:
        mask = masks[layer.site]
        assert (layer.weights, layer.pruned) == (mask.numel(), int((~mask).sum()))
        assert (layer.surviving_inputs, layer.surviving_units) == (int(mask.any(0).sum()), int(mask.any(1).sum()))
    assert sum(layer.kl_share for layer in layers) == pytest.approx(1)
