"""ArviZ data of guides without log α: they have draws and predictions, can be compared, and have no log α."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from posterior_support import known_data, known_pair, monte_carlo_error
from support import SMALL, run_cli

from pyro_vd import evaluate, load_run, to_inference_data
from pyro_vd.guides import BernoulliDropout, GaussianDropout, PointEstimate, WeightGuide
from pyro_vd.models import MLP
from pyro_vd.plots.posterior import largest_weights
from pyro_vd.posterior import held_out_elpd
from pyro_vd.posterior.arviz_files import has_data_tree, import_arviz, read_inference_data, to_tree, write_inference_data
from pyro_vd.workflow import run_inference_data

DROPOUT: dict[str, Callable[[MLP], WeightGuide]] = {
    "bernoulli": lambda model: BernoulliDropout(model, 0.3),
    "gaussian-units": lambda model: GaussianDropout(model, 0.3, noise_on="unit"),
    "point": PointEstimate,
}


@pytest.mark.parametrize("kind", DROPOUT)
def test_groups_and_draws(kind: str, tmp_path: Path) -> None:
    model, _ = known_pair()
    guide = DROPOUT[kind](model)
    data = to_inference_data(guide, known_data(), num_samples=50, weights=4)
    write_inference_data(data, tmp_path / "a.nc")
    tree = to_tree(read_inference_data(tmp_path / "a.nc"))
    parameters = tree["variational_parameters"].to_dataset()
    assert set(parameters.data_vars) == {"1.weight.theta", "3.weight.theta", "1.bias", "3.bias"}
    assert "threshold" not in parameters.attrs
    theta = guide.mean("3.weight").detach()
    assert np.array_equal(parameters["3.weight.theta"], theta)
    drawn, labels = tree["posterior"]["3.weight"].values[0], tree["posterior"]["3.entry"].values
    chosen = torch.stack([theta[tuple(map(int, label.split(", ")))] for label in labels])
    torch.testing.assert_close(chosen.abs(), theta.abs().flatten().topk(4).values)
    factors = drawn / chosen.numpy()
    if kind == "bernoulli":
        assert np.isclose(factors[:, :, None], [0, 1 / 0.7]).any(2).all()
    assert factors.mean() == pytest.approx(1, abs=4 * math.sqrt(0.3 / 0.7 / len(factors)) if kind != "point" else 1e-6)
    p = tree["posterior_predictive"]["y_probability"].values[0]
    assert (p.std(0).max() > 0.01) == (kind != "point")
    assert largest_weights(data).axes


def test_weights_removed_for_good() -> None:
    model, _ = known_pair()
    masks = {name: weight > 0 for name, weight in model.initial_weights.items()}
    guide = BernoulliDropout(model, 0.3)
    guide.apply_masks(masks)
    tree = to_tree(to_inference_data(guide, known_data(), num_samples=3, weights="all"))
    for name, mask in masks.items():
        assert np.array_equal(tree["variational_parameters"][f"{name}.mask"], mask)
        assert (tree["posterior"][name].values[:, :, ~mask.numpy()] == 0).all()


@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.sort_values")  # a warning of ArviZ 0.23 with newer pandas
def test_dropout_is_compared_with_variational_dropout() -> None:
    model, variational = known_pair()
    pairs = {"variational": (model, variational), "dropout": (model, BernoulliDropout(model, 0.3))}
    data = {name: to_inference_data(pair[1], known_data(), num_samples=300) for name, pair in pairs.items()}
    table = import_arviz().compare({name: held_out_elpd(found) for name, found in data.items()})
    for name, (_, guide) in pairs.items():
        nll = evaluate(guide, known_data(), num_samples=300).nll
        error = monte_carlo_error(to_tree(data[name])["log_likelihood"]["y"].values[0])
        found = table.loc[name, "elpd" if has_data_tree() else "elpd_loo"] / -len(known_data()[1])
        assert found == pytest.approx(nll, abs=4.5 * math.sqrt(2) * error)


def test_of_a_run(tmp_path: Path) -> None:
    options = (
        "--train.guide=bernoulli",
        "--train.guide.p=0.3",
        "--train.train_threshold=null",
        "--finetune.epochs=0",
        f"--out={tmp_path / 'run'}",
    )
    small = [key for key in SMALL if not key.startswith("--finetune.epochs")]
    code, _, err = run_cli("train", "digits", *small, *options)
    assert code == 0, err
    tree = to_tree(run_inference_data(load_run(tmp_path / "run"), num_samples=3))
    assert tree["posterior_predictive"]["y"].sizes["draw"] == 3
    assert "recipe" in tree.attrs
