"""Units that must be kept or removed together share one factor: one pair of parameters, one KL, one draw."""

from __future__ import annotations

from collections.abc import Iterator

import pyro
import pytest
import torch
from shared_networks import KINDS, NETWORKS, Residual, shared
from torch import Tensor

from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    PruningRule,
    VariationalDropoutELBO,
    compact,
    fit,
    log_alpha,
    prune,
)
from pyro_vd.distributions import GroupNormal, NormalJeffreys
from pyro_vd.distributions.kl import kl_approximate
from pyro_vd.guides.unit_guide import UnitGuide
from pyro_vd.pruning import pruning_masks

every_network = pytest.mark.parametrize("network", NETWORKS)


def readers(guide: UnitGuide) -> Iterator[tuple[int, str, int]]:
    """The number of the factor of every input of every site, with the site and the input."""
    for name in guide.site_names:
        for place, number in enumerate(guide.site(name).units.tolist()):
            yield number, name, place


@every_network
@pytest.mark.parametrize("kind", KINDS)
def test_every_factor_learns_from_the_data(network: str, kind: str) -> None:
    guide, x = shared(network, kind), NETWORKS[network][1](6)
    VariationalDropoutELBO(kl_weight=0.0)(guide.model, guide)(x, torch.arange(6) % 3).backward()
    factors = {name: p for name, p in guide.named_parameters() if ".z_" in name}
    assert sum(p.numel() for p in factors.values()) == 2 * len({number for number, _, _ in readers(guide)})
    for name, parameter in factors.items():
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).all(), name


@every_network
def test_the_kl_counts_every_factor_once(network: str) -> None:
    guide = shared(network)
    found: dict[int, Tensor] = {}
    weights = torch.zeros(())
    for name in guide.site_names:
        q = guide.posterior(name)
        assert isinstance(q, GroupNormal)
        z = torch.stack([q.layout.over_inputs(z) for z in (q.z_mu, q.z_log_sigma2)], 1)
        for number, own in zip(guide.site(name).units.tolist(), z, strict=True):
            assert torch.equal(found.setdefault(number, own), own), "one pair of parameters"
        weights = weights + 0.5 * (q.log_sigma2.exp() + q.theta.square() - 1 - q.log_sigma2).sum()
    wanted = weights + kl_approximate(*torch.stack(list(found.values()), 1)).sum()
    elbo = VariationalDropoutELBO()
    elbo(guide.model, guide)(NETWORKS[network][1](6), torch.arange(6) % 3)
    torch.testing.assert_close(elbo.kl, wanted.detach())


def test_which_units_go_together() -> None:
    residual = shared("residual")
    stream = residual.site("first.weight").units.tolist()
    assert residual.site("second.weight").units.tolist() == stream
    assert residual.site("head.weight").units.reshape(6, 9).T.tolist() == [stream] * 9, "a filter, not its positions"
    deep = shared("depthwise")
    assert torch.equal(deep.site("deep.weight").units, deep.site("mixing.weight").units)
    dense = shared("dense")
    numbers = [dense.site(name).units.tolist() for name in ("first.weight", "second.weight", "head.weight")]
    assert numbers[0] == numbers[1][:4] == numbers[2][:4]
    assert numbers[1] == numbers[2][:7]
    lstm = shared("recurrent")
    assert torch.equal(lstm.site("recurrent.weight_hh_l0").units, lstm.site("recurrent.weight_ih_l1").units)
    assert torch.equal(lstm.site("recurrent.weight_hh_l1").units, lstm.site("head.weight").units)
    encoder = shared("encoder")
    assert len(encoder.site("encoder.layers.0.self_attn.out_proj.weight").units.unique()) == 4, "one per head"
    stream = encoder.site("encoder.layers.0.self_attn.in_proj_weight").units.tolist()
    for name in ("encoder.layers.0.linear1.weight", "encoder.layers.1.self_attn.in_proj_weight", "head.weight"):
        assert encoder.site(name).units.tolist() == stream, "one stream, whatever normalises it"


def test_a_pruned_unit_goes_at_every_reader() -> None:
    guide, x = shared("residual"), NETWORKS["residual"][1](4)
    with torch.no_grad():
        guide.site("first.weight").z_log_sigma2[[1, 4]] = 10.0
    net = prune(guide, 3.0)
    for layer in (net.first, net.second):
        assert (layer.weight != 0).flatten(2).any(2).any(0).tolist() == [True, False, True, True, False, True]
    small = compact(net, x)
    assert small.stem.weight.shape[0] == 4
    torch.testing.assert_close(small(x), net(x))


REMOVED: dict[str, tuple[dict[str, list[int]], dict[str, tuple[int, ...]]]] = {
    "depthwise": ({"deep.weight": [0, 3]}, {"stem.weight": (4, 2), "deep.weight": (4, 1), "mixing.weight": (4, 4)}),
    "dense": ({"head.weight": [1, 5]}, {"stem.weight": (3, 2), "first.weight": (2, 3), "second.weight": (3, 5)}),
    "recurrent": (
        {"recurrent.weight_hh_l0": [1, 2], "head.weight": [0, 4]},
        {"recurrent.weight_ih_l0": (12, 4), "recurrent.weight_ih_l1": (12, 3), "head.weight": (3, 3)},
    ),
    "encoder": (
        {"encoder.layers.0.self_attn.out_proj.weight": [1, 2], "encoder.layers.0.linear2.weight": [0, 5, 7]},
        {"encoder.layers.0.self_attn.out_proj.weight": (8, 4), "encoder.layers.0.linear1.weight": (9, 8)},
    ),
}
"""By network, the inputs of sites to remove, an attention's as heads, and sizes of tensors in the smaller network."""


@pytest.mark.parametrize("network", REMOVED)
def test_compaction_removes_channels_hidden_units_and_heads(network: str) -> None:
    guide, x = shared(network, weight_noise=False), NETWORKS[network][1](6)
    (removed, sizes) = REMOVED[network]
    with torch.no_grad():
        for name, inputs in removed.items():
            q = guide.posterior(name)
            units = inputs if "self_attn" in name or q.layout.of_input is None else q.layout.of_input[inputs]
            assert isinstance(q, GroupNormal)
            q.z_log_sigma2[units] = 10.0
    net = prune(guide, 3.0)
    small = compact(net, x)
    torch.testing.assert_close(small(x), net(x))
    parameters = dict(small.named_parameters())
    assert {name: tuple(parameters[name].shape[:2]) for name in sizes} == sizes


def test_limits_count_filters_and_hold_for_all_readers() -> None:
    guide = shared("residual")
    units = {
        name: int((mask.flatten(2).any(2) if mask.ndim > 2 else mask.unflatten(1, (6, 9)).any(2)).any(0).sum())
        for name, mask in pruning_masks(guide, PruningRule(100.0, max_inputs={"head.weight": 4})).items()
    }
    assert units == {"stem.weight": 2, "first.weight": 4, "second.weight": 4, "head.weight": 4}
    masks = pruning_masks(guide, PruningRule(100.0, max_inputs={"head.weight": 4}))
    worst = log_alpha(guide)["first.weight"][0, :, 0, 0].argsort()[4:]
    assert not masks["first.weight"][:, worst].any()


def test_a_unit_without_weights_in_one_layer_counts_until_none_is_left() -> None:
    guide = shared("residual", weight_noise=False)
    masks = {name: torch.ones_like(guide.site(name).theta, dtype=torch.bool) for name in guide.site_names}
    masks["first.weight"][:, 2] = False
    elbo, x, y = VariationalDropoutELBO(), NETWORKS["residual"][1](6), torch.arange(6) % 3

    def kl() -> Tensor:
        elbo(guide.model, guide)(x, y)
        return elbo.kl

    whole = kl()
    guide.apply_masks(masks)
    torch.testing.assert_close(kl(), whole)
    masks["second.weight"][:, 2] = False
    masks["head.weight"][:, 18:27] = False
    guide.apply_masks(masks)
    first = guide.site("first.weight")
    gone = kl_approximate(first.z_mu[2], first.z_log_sigma2[2]).detach()
    torch.testing.assert_close(kl(), whole - gone)


def test_training_removes_the_units_that_do_not_matter_in_all_layers() -> None:
    """The label depends on one of two inputs; the stream has more units than that needs."""
    torch.manual_seed(0)
    x = torch.randn(200, 2, 3, 3)
    y = (x[:, 0].mean((1, 2)) > 0).long() + (x[:, 0, 1, 1] > 0.5).long()
    pyro.set_rng_seed(0)
    guide = GroupVariationalDropout(BayesianNetwork(Residual(8), prior=NormalJeffreys), -4.0, example=x[:2])
    fit(guide, (x, y), epochs=60, batch_size=100, lr=0.03, kl_weight=2, progress=False)
    net = prune(guide, 0.0)
    small = compact(net, x[:2])
    torch.testing.assert_close(small(x), net(x), atol=1e-5, rtol=1e-4)
    (inside,) = (module for module in small.modules() if isinstance(module, Residual))
    kept = int((log_alpha(guide)["first.weight"][0, :, 0, 0] < 0).sum())
    assert inside.stem.weight.shape[:2] == (kept, 1), "one input, and the units that are left"
    assert kept < 6
    assert inside.head.weight.shape[1] == 9 * kept
    assert (small(x).argmax(1) == y).float().mean() > 0.75
