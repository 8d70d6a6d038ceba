"""Guides that remove whole units: their draws, the units that they remove, and the way from a guide to a smaller network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pyro
import pytest
import torch
from support import SMALL, refused, refuses, run_cli
from torch import Tensor, nn

from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    compact,
    evaluate,
    fit,
    load_pruned,
    load_run,
    log_alpha,
    posterior_mean,
    prune,
    surviving_units,
)
from pyro_vd._core.storage import as_json
from pyro_vd.compaction import compact_size, unit_counts
from pyro_vd.distributions import LogUniform, NormalJeffreys
from pyro_vd.guides import LogNormalDropout
from pyro_vd.guides.unit_guide import UnitGuide
from pyro_vd.inference import LocalReparameterization
from pyro_vd.models import MLP
from pyro_vd.models.site_priors import Prior
from pyro_vd.posterior import predictive, summarize
from pyro_vd.pruning import threshold_masks
from pyro_vd.workflow import inspect_layers
from pyro_vd.workflow.tables import units_text

KINDS: dict[str, tuple[Prior, Callable[..., UnitGuide]]] = {
    "group": (NormalJeffreys, GroupVariationalDropout),
    "group alone": (NormalJeffreys, partial(GroupVariationalDropout, weight_noise=False)),
    "log-normal": (LogUniform, LogNormalDropout),
    "log-normal, weights too": (LogUniform, partial(LogNormalDropout, weight_noise=True)),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def pair(kind: str, net: nn.Module | None = None, log_sigma2: float = -3.0) -> tuple[BayesianNetwork, UnitGuide]:
    prior, guide = KINDS[kind]
    model = BayesianNetwork(net or MLP([5, 4, 3]).to_module(MLP([5, 4, 3]).initial_weights), prior=prior, num_data=60)
    return model, guide(model, log_sigma2=log_sigma2)


def remove(guide: UnitGuide, name: str, units: list[int]) -> None:
    """Give these units so much noise that pruning removes them."""
    with torch.no_grad():
        guide.site(name).z_mu[units] = -10.0 if isinstance(guide, LogNormalDropout) else 0.1
        guide.site(name).z_log_sigma2[units] = 10.0


def irrelevant(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return examples of seven inputs; the label depends on the second and the fifth."""
    x = torch.randn(n, 7, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 1] > 0).long() + 2 * (x[:, 4] > 0).long()


@every_kind
def test_a_shared_weight_is_drawn_once(kind: str) -> None:
    prior, guide = KINDS[kind]
    shared = BayesianNetwork(nn.Linear(5, 3), prior=prior, shared=["weight"])
    assert predictive(guide(shared), torch.randn(6, 5)).shape == (6, 3)


@every_kind
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_exactly_the_irrelevant_inputs_are_removed(kind: str, seed: int) -> None:
    pyro.set_rng_seed(seed)
    data = irrelevant(400, seed)
    _model, guide = pair(kind, nn.Linear(7, 4), log_sigma2=-4)
    fit(guide, data, epochs=60, batch_size=100, lr=0.05, kl_weight=4, progress=False)
    net = prune(guide, 0.0)
    assert (net.weight != 0).any(0).nonzero().flatten().tolist() == [1, 4]
    assert (log_alpha(guide)["weight"].amax(0) == log_alpha(guide)["weight"].amin(0)).all()
    assert evaluate(net, irrelevant(400, 100)).error < 0.1
    assert summarize(guide, 0.0)[0].pruned == 20


@every_kind
def test_pruned_units_are_removed_and_stay_removed(kind: str) -> None:
    model, guide = pair(kind, MLP([6, 8, 5, 3]).to_module(MLP([6, 8, 5, 3]).initial_weights))
    remove(guide, "1.weight", [0, 5])
    remove(guide, "3.weight", [1, 2, 7])
    remove(guide, "5.weight", [4])
    net = prune(guide, 0.0)
    x = torch.randn(20, 6)
    small = compact(net)
    torch.testing.assert_close(small(x), net(x))
    left = surviving_units(net)
    assert unit_counts(left) == unit_counts(surviving_units(small)) == [4, 5, 4]
    assert left["1"].inputs == (1, 2, 3, 4)
    assert left["3"].inputs == left["1"].units == (0, 3, 4, 5, 6)
    assert left["5"].inputs == left["3"].units == (0, 1, 2, 3)
    assert left["5"].units == (0, 1, 2)
    size = compact_size(net, x)
    assert (size.units, size.parameters) == (left, 4 * 5 + 5 + 5 * 4 + 4 + 4 * 3 + 3)
    assert size.flops == 2 * (4 * 5 + 5 * 4 + 4 * 3)
    guide.train_threshold = 0.0
    with LocalReparameterization():  # means are held at zero where they would be pruned, without noise
        held = model.output(guide(), x.index_fill(1, torch.tensor([0, 5]), 1e6))
    assert held.abs().max() < 1e3
    guide.apply_masks(threshold_masks(log_alpha(guide), 0.0))
    torch.testing.assert_close(posterior_mean(guide)(x), net(x))
    before = {name: p.detach().clone() for name, p in guide.named_parameters()}
    data = torch.rand(60, 6), torch.arange(60) % 3
    fit(guide, data, epochs=3, lr=0.02, train_threshold=0.0, progress=False)
    assert all(not torch.equal(p, before[name]) for name, p in guide.named_parameters())
    for name, weight in posterior_mean(guide).named_parameters():
        assert torch.equal(weight == 0, net.get_parameter(name) == 0)


@every_kind
def test_signals_are_those_of_weights(kind: str) -> None:
    _model, guide = pair(kind)
    data = torch.rand(9, 5), torch.arange(9) % 3
    for layer in inspect_layers(guide, data):
        q = guide.posterior(layer.site)
        signal = (q.mean.abs() / q.variance.sqrt()).flatten().sort().values
        assert layer.signal_quantiles[2] == pytest.approx(signal[round(0.5 * (len(signal) - 1))].item(), rel=1e-4)


def test_models_and_values_that_do_not_fit() -> None:
    with refuses("prior", LogUniform, "1.weight", "GroupVariationalDropout", "prior=NormalJeffreys"):
        GroupVariationalDropout(MLP([5, 4, 3]))
    with refuses("prior", NormalJeffreys, "1.weight", "LogNormalDropout", "prior=LogUniform"):
        LogNormalDropout(MLP([5, 4, 3], prior=NormalJeffreys))
    with refuses("log_sigma2", 1.0, "<= 0"):
        LogNormalDropout(MLP([5, 4, 3]), log_sigma2=1.0)


@pytest.mark.parametrize(
    ("guide", "prior", "log_sigma2", "threshold"),
    [("group", "normal-jeffreys", -1, -1), ("log-normal", "log-uniform-exact", 0, -1.4)],
)
def test_command_line(guide: str, prior: str, log_sigma2: float, threshold: float, tmp_path: Path) -> None:
    keys = [f"--train.guide={guide}", f"--model.prior={prior}", f"--train.guide.log_sigma2={log_sigma2}", "--train.lr=0.03"]
    keys += [
        f"--prune.threshold={threshold}",
        "--train.train_threshold=0",
        "--train.kl_weight.value=5",
        "--finetune.kl_weight.value=1",
    ]
    code, out, err = run_cli("train", "digits", *SMALL, *keys, "--out", tmp_path / "run", "--quiet")
    assert code == 0, err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    net, run = load_pruned(tmp_path / "run" / "pruned.safetensors"), load_run(tmp_path / "run")
    units = metrics["compact"]["units"]
    assert units == json.loads(as_json({layer: asdict(left) for layer, left in surviving_units(net).items()}))
    assert f"\ncompact: {units_text(units)} units, " in out
    assert units_text(units) == "-".join(map(str, unit_counts(surviving_units(net)))) != "64-12"
    weight = prune(run.guide, threshold).get_parameter("1.weight")
    assert torch.equal(weight == 0, net.get_parameter("1.weight") == 0), "fine-tuning removes nothing and brings nothing back"
    assert run_cli("prune", tmp_path / "run", "--threshold=-2")[0] == 0
    other = "ard" if guide == "log-normal" else "log-uniform"
    mismatch = ["train", "digits", f"--train.guide={guide}", f"--model.prior={other}", "--out", tmp_path / "none"]
    refused(*mismatch, quoted=[f"model.prior (={other!r})", "train.guide.kind", repr(guide)])
    refused("train", "digits", "--model.prior=normal-jeffreys", quoted=["model.prior (='normal-jeffreys')", "log-uniform"])
    assert not (tmp_path / "none").exists()
