"""Pruning to a number of units: the inputs of least log α stay, and everything that speaks of a run agrees on which."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from support import SMALL, refused, run_cli
from torch import nn

from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    InputError,
    NormalJeffreys,
    VariationalDropout,
    compact,
    inspect_layers,
    keep_masks,
    load_pruned,
    load_run,
    log_alpha,
    prune,
    surviving_units,
)
from pyro_vd.inspection import run_inference_data


@pytest.mark.parametrize("shape", [(7, 5), (4, 5, 3), (4, 5, 3, 2)])
@pytest.mark.parametrize("most", [0, 1, 3, 5, 9])
def test_the_inputs_of_least_log_alpha_stay(shape: tuple[int, ...], most: int) -> None:
    values = torch.randn(shape)
    threshold = values.quantile(0.6).item()
    mask = keep_masks({"w": values}, threshold, [most])["w"]
    by_hand = sorted(range(5), key=lambda unit: values[:, unit].min().item())[:most]
    for unit in range(5):
        assert torch.equal(mask[:, unit], (values[:, unit] < threshold) & (unit in by_hand))


def test_removed_inputs_and_equal_ones() -> None:
    values = torch.tensor([[math.inf, 1.0, 1.0, 1.0, -math.inf]])
    assert keep_masks({"w": values}, 3.0, [3])["w"].tolist() == [[False, True, True, False, True]]
    assert keep_masks({"w": values}, 1.0, [5])["w"].tolist() == [[False, False, False, False, True]]


def test_a_pruned_network_has_these_units() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4, 5), nn.ReLU(), nn.Linear(5, 2))
    model = BayesianNetwork(net, prior=NormalJeffreys)
    guide = GroupVariationalDropout(model, log_sigma2=-4.0)
    with torch.no_grad():
        for name in guide.site_names:
            guide.site(name).z_log_sigma2.uniform_(-6, -1)
    pruned = prune(model, guide, 0.0, [2, 24, 3])
    x = torch.randn(4, 3, 4, 4)
    small = compact(pruned, x[:1])
    assert surviving_units(pruned, x[:1]) == "2-6-3"
    torch.testing.assert_close(small(x), pruned(x))
    weights = BayesianNetwork(nn.Linear(5, 4))
    (mask,) = keep_masks(log_alpha(VariationalDropout(weights)), 3.0, [2]).values()
    assert int(mask.any(0).sum()) == 2, "guides over weights as well"


def test_wrong_numbers_are_refused() -> None:
    values = {"first.weight": torch.randn(3, 4), "second.weight": torch.randn(2, 3)}
    for units, quoted in {(2,): r"units \(=\[2\]\) .*'first.weight', 'second.weight'", (2, -1): r"units \(=-1\)"}.items():
        with pytest.raises(InputError, match=quoted):
            keep_masks(values, 0.0, units)


def test_a_run_to_a_number_of_units(tmp_path: Path) -> None:
    run = tmp_path / "run"
    keys = ["--train.guide=group", "--model.prior=normal-jeffreys", "--train.weight_noise=false", "--train.log_sigma2=-4"]
    keys += ["--prune.threshold=0", "--prune.units=[20, 5]"]
    code, _, err = run_cli("train", "digits", *SMALL, *keys, "--out", run, "--quiet")
    assert code == 0, err
    assert json.loads((run / "metrics.json").read_text())["compact"]["units"] == "20-5"
    net, loaded = load_pruned(run / "pruned.safetensors"), load_run(run)
    data = run_inference_data(loaded, num_samples=2, weights=1)
    layers = inspect_layers(loaded.model, loaded.guide, loaded.data.test, 0.0, [20, 5])
    assert [layer.surviving_inputs for layer in layers] == [20, 5]
    for layer in layers:
        left = net.get_parameter(layer.site) != 0
        assert torch.equal(left, torch.from_numpy(data["variational_parameters"][f"{layer.site}.mask"].values))
        assert layer.pruned == int((~left).sum())
    code, out, _ = run_cli("inspect", run, "--json", "--num-samples", "2", "--plots")
    assert code == 0
    assert [layer["surviving_inputs"] for layer in json.loads(out)["layers"]] == [20, 5]

    assert run_cli("prune", run, "--units", "9", "4")[0] == 0
    assert surviving_units(load_pruned(run / "pruned-0.safetensors")) == "9-4"
    assert run_cli("prune", run, "--threshold=-0.1")[0] == 0
    assert surviving_units(load_pruned(run / "pruned--0.1.safetensors")) == "20-5", "the recipe's numbers still hold"


@pytest.mark.parametrize(
    ("keys", "quoted"),
    [
        (["--prune.units=[3]"], ["prune.units (=[3])", "each of the 2 layers"]),
        (["--prune.units=[3, -2]"], ["prune.units.1 (=-2)", ">= 0"]),
        (["--prune.units=[3, two]"], ["prune.units", "two"]),
        (["--prune.units=[3, 2]", "--prune.max_error_rise=0.1"], ["prune.units (=[3, 2])", "prune.max_error_rise (=0.1)"]),
    ],
)
def test_bad_settings(keys: list[str], quoted: list[str], tmp_path: Path) -> None:
    refused("train", "digits", *keys, "--out", tmp_path / "run", quoted=quoted)
    assert not (tmp_path / "run").exists()


def test_bad_numbers_for_a_finished_run(finished_run: Path) -> None:
    before = {path.name for path in finished_run.iterdir()}
    refused("prune", finished_run, "--units", "3", quoted=["units (=[3])", "'1.weight', '3.weight'"])
    refused("prune", finished_run, "--units", "3", "-2", quoted=["prune.units.1 (=-2)"])
    refused("prune", finished_run, "--units", "3", "2", "--max-error-rise=0.1", quoted=["units (=[3, 2])"])
    assert {path.name for path in finished_run.iterdir()} == before
