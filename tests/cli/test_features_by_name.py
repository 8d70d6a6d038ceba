"""The features of a table by their names: in a run's files, tables, figures and ArviZ data, and for new rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support import refused, refuses, run_cli
from torch import nn

from pyro_vd import load_pruned, load_run, to_inference_data
from pyro_vd.compaction import surviving_features
from pyro_vd.export.pruned_file import read_info, save_pruned
from pyro_vd.posterior import read_inference_data
from pyro_vd.posterior.arviz_files import to_tree
from pyro_vd.workflow.run_folder import read_metrics

FEATURES = ("size", "year", "same", "noise", "lift", "city=Lyon", "city=Nice")
ROWS = 300


def flats(seed: int) -> pd.DataFrame:
    """Prices that depend on the size and the city, and four columns that say nothing of them."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame({"size": rng.normal(50, 10, ROWS), "year": rng.integers(1900, 2020, ROWS), "same": 7.0})
    table["noise"] = rng.normal(0, 1e5, ROWS)
    table["lift"] = rng.random(ROWS) < 0.5
    table["city"] = rng.choice(["Lyon", "Nice"], ROWS)
    table["price"] = 3000 * table["size"] + 4e4 * (table["city"] == "Nice") + rng.normal(0, 5000, ROWS)
    return table


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flats")
    flats(0).to_csv(folder / "flats.csv", index=False)
    keys = ("--model.sizes=[auto,12,auto]", "--train.epochs=60", "--train.kl_weight.end=15", "--train.lr=0.01", "--device=cpu")
    arguments = ("train", "--data.name", folder / "flats.csv", "--data.target=price", "--out", folder / "run", *keys)
    code, out, err = run_cli(*arguments)
    assert code == 0, err
    left = read_metrics(folder / "run")["features_left"]
    assert f"it reads {len(left)} of 7 features: {', '.join(left)}" in out
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def json_of(*arguments: Any) -> Any:
    code, out, err = run_cli(*arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_what_is_left_is_what_changes_the_output(run: Path) -> None:
    metrics = read_metrics(run)
    assert tuple(metrics["features"]) == FEATURES
    left = metrics["features_left"]
    assert "size" in left
    assert "same" not in left, "a constant column is never read"
    net, x = load_pruned(run / "pruned.safetensors"), load_run(run).data.x_test
    wanted = net(x)
    for index, name in enumerate(FEATURES):
        changed = x.clone()
        changed[:, index] += 3 if name != "year" else 300
        assert torch.equal(net(changed), wanted) == (name not in left), name


def test_the_file_says_what_its_inputs_are(run: Path) -> None:
    for file in (run / "pruned.safetensors", Path(json_of("prune", run, "--threshold=1")["file"])):
        info = read_info(file)
        assert tuple(info["features"]) == FEATURES
        assert info["table"] == {"target": "price", "test": None, "drop": []}
        assert "classes" not in info


def test_new_rows_are_measured_in_the_order_of_the_inputs(run: Path, tmp_path: Path) -> None:
    new = flats(1)[["price", "city", "noise", "lift", "same", "year", "size"]]
    new.to_parquet(path := tmp_path / "new.parquet")
    for source in (run, run / "pruned.safetensors"):
        own, found = json_of("evaluate", source), json_of("evaluate", source, "--data", path)
        assert (own["networks"]["pruned"]["examples"], found["networks"]["pruned"]["examples"]) == (ROWS // 5, ROWS)
        assert found["data"] == str(path)
        assert found["networks"]["pruned"]["rmse"] < 1.5 * own["networks"]["pruned"]["rmse"]
        same = json_of("evaluate", source, "--data", load_run(run).data.name)
        assert same["networks"]["pruned"]["rmse"] == own["networks"]["pruned"]["rmse"], "its own table: the test part"
    exported = json_of("export", run, "--format=sparse", "--data", path)
    assert exported["data"] == str(path)
    new.drop(columns="size").to_csv(path := tmp_path / "less.csv", index=False)
    refused("evaluate", run, "--data", path, quoted=["'size'", "year", str(path)])
    net = load_pruned(run / "pruned.safetensors")
    save_pruned(net, tmp_path / "bad.safetensors", {"data": "a", "table": 1})
    refused("evaluate", tmp_path / "bad.safetensors", quoted=["bad.safetensors", "table"])


def test_inspect_names_them(run: Path) -> None:
    result = json_of("inspect", run, "--plots", "--num-samples=5", "--weights=3")
    assert tuple(result["features"]) == FEATURES
    assert set(result["features_left"]) < set(FEATURES)
    tree = to_tree(read_inference_data(run / "posterior.nc"))
    assert tree["constant_data"]["x"].coords["x_dim_0"].values.tolist() == list(FEATURES)
    site = load_run(run).guide.site_names[0]
    parameters = tree["variational_parameters"]
    layer = site.removesuffix("weight")
    assert parameters[f"{site}.theta"].coords[f"{layer}in"].values.tolist() == list(FEATURES)
    entries = tree["posterior"][site].coords[f"{layer}entry"].values.tolist()
    assert all(entry.partition(", ")[2] in FEATURES for entry in entries)
    code, out, _ = run_cli("inspect", run, "--num-samples=5", "--overwrite")
    assert code == 0
    assert f"it reads {len(result['features_left'])} of 7 features: {', '.join(result['features_left'])}" in out


def test_classes_are_coordinates_of_their_probabilities(tmp_path: Path) -> None:
    table = flats(0)
    table["city"] = table["city"].replace("Nice", "Metz")
    table.to_csv(path := tmp_path / "flats.csv", index=False)
    keys = ("--model.sizes=[auto,auto]", "--train.epochs=1", "--train.kl_weight.end=1", "--quiet", "--device=cpu")
    code, _, err = run_cli("train", "--data.name", path, "--data.target=city", "--out", tmp_path / "out", *keys)
    assert (code, err) == (0, "")
    assert read_info(tmp_path / "out" / "pruned.safetensors")["classes"] == ["Lyon", "Metz"]
    run = load_run(tmp_path / "out")
    tree = to_tree(to_inference_data(run.guide, run.data, num_samples=2))
    probability = tree["posterior_predictive"]["y_probability"]
    assert probability.coords["class"].values.tolist() == ["Lyon", "Metz"]


def test_names_must_fit() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    assert surviving_features(net, "abcd") == tuple("abcd")
    with torch.no_grad():
        net[0].weight[:, 1] = 0
    assert surviving_features(net, "abcd") == tuple("acd")
    with torch.no_grad():
        net[0].weight.zero_()
    assert surviving_features(net, "abcd") == ()
    with refuses("features", ["a", "b"], 4):
        surviving_features(net, "ab")
