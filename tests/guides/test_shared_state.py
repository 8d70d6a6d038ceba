"""The state of a guide with shared factors says which they are, so that a guide made without an example takes it."""

from __future__ import annotations

import json
from pathlib import Path

import pyro
import pytest
import torch
from shared_networks import NETWORKS, shared
from support import SMALL, refuses, run_cli

from pyro_vd import BayesianNetwork, GroupVariationalDropout, load_run
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.guides.group_variational_dropout import GroupVariationalDropoutSettings
from pyro_vd.networks.checks import check_state

every_network = pytest.mark.parametrize("network", NETWORKS)


@every_network
def test_a_guide_made_without_the_example_takes_its_state(network: str) -> None:
    guide = shared(network)
    state = guide.state_dict()
    other = GroupVariationalDropout(guide.model)
    unshared = other.state_dict()
    check_state("state", state, other)
    other.load_state_dict(state)
    assert [(n, p.shape) for n, p in other.named_parameters()] == [(n, p.shape) for n, p in guide.named_parameters()]
    drawn = []
    for each in (guide, other):
        pyro.set_rng_seed(0)
        drawn.append(each())
    assert all(torch.equal(drawn[0][name], drawn[1][name]) for name in guide.site_names)
    check_state("state", unshared, other)
    other.load_state_dict(unshared)
    assert other.state_dict().keys() == unshared.keys()


def test_a_state_that_is_refused_changes_nothing() -> None:
    guide = shared("residual")
    other = GroupVariationalDropout(guide.model)
    before = {name: value.clone() for name, value in other.state_dict().items()}
    state = {**guide.state_dict(), "sites.stem.weight.theta": torch.zeros(1)}
    with refuses("state"):
        check_state("state", state, other)
    with pytest.raises(RuntimeError, match=r"stem\.weight\.theta"):
        other.load_state_dict(state)
    after = other.state_dict()
    assert after.keys() == before.keys()
    assert all(after[name].shape == before[name].shape for name in before)
    assert torch.equal(after["sites.second.weight.z_mu"], before["sites.second.weight.z_mu"])


def test_settings_of_a_recipe() -> None:
    make, inputs = NETWORKS["residual"]
    model = BayesianNetwork(make(), prior=NormalJeffreys)
    for settings, is_shared in (
        (GroupVariationalDropoutSettings(), False),
        (GroupVariationalDropoutSettings(shared=True), True),
    ):
        guide = settings.build_for(model, inputs(2))
        assert (len(guide.sites_with_units_of("first.weight")) == 3) == is_shared
        assert len(settings.build(model).sites_with_units_of("first.weight")) == 1


def test_a_run_with_shared_factors_is_read_without_its_data(tmp_path: Path) -> None:
    keys = ["--train.guide=group", "--model.prior=normal-jeffreys", "--train.guide.shared=true", "--prune.threshold=3"]
    code, _, err = run_cli("train", "digits", *SMALL, *keys, "--out", tmp_path / "run", "--quiet")
    assert code == 0, err
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["threshold"] == 3
    guide = load_run(tmp_path / "run").guide
    assert all("units" in dict(guide.site(name).named_buffers()) for name in guide.site_names)
