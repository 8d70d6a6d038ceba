"""``pyro-vd train`` on files of the user: sizes, likelihood and recipe follow from the data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support import refused, run_cli, write_images, write_npz

from pyro_vd import load_data, load_pruned, load_run
from pyro_vd._core.yaml_files import read_yaml
from pyro_vd.models.likelihoods import LIKELIHOODS
from pyro_vd.networks import Rescale, Standardize

FAST = ("--train.epochs=3", "--train.kl_weight.end=1", "--quiet", "--device=cpu")


@pytest.fixture
def flats(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"size": rng.normal(50, 10, 60), "same": 7.0, "city": ["Lyon", "Nice"] * 30})
    table["price"] = 3000 * table["size"] + 1e5 * (table["city"] == "Nice")
    table["grade"] = ["low", "middle", "high"] * 20
    table["stars"] = [1, 2, 3, 4] * 15
    table["sold"] = [True, False, False] * 20
    table.to_csv(path := tmp_path / "flats.csv", index=False)
    return path


def test_a_regression_without_a_recipe(flats: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("train", "--data.name", flats, "--data.target", "price", "--data.drop=[grade, stars, sold]", "--out", out)
    code, _, err = run_cli(*arguments, *FAST[:-2], "--device=cpu")
    assert (code, err.splitlines()[0]) == (
        0,
        f"{flats}: 48 examples for training, 12 for the test; 4 features; target 'price': numbers, normal likelihood",
    )
    recipe = read_yaml(out / "recipe.yaml")
    assert recipe["model"]["sizes"][0] == 4
    assert recipe["model"]["sizes"][-1] == 1
    assert recipe["model"]["likelihood"] == "normal"
    assert recipe["data"] == {
        "name": str(flats),
        "dir": None,
        "validation": recipe["data"]["validation"],
        "target": "price",
        "test": None,
        "drop": ["grade", "stars", "sold"],
    }
    assert {"ridge", "pruned"} < json.loads((out / "metrics.json").read_text())["networks"].keys()
    run = load_run(out)
    assert run.data.features == ("size", "same", "city=Lyon", "city=Nice")
    net = load_pruned(out / "pruned.safetensors")
    (standardize,) = (module for module in net if isinstance(module, Standardize))
    assert standardize.mean[0].item() == pytest.approx(run.train[0][:, 0].mean().item()), "learnt on the training part alone"
    assert standardize.scale[1] == 0, "a constant column"
    std = run.train[0][:, 2].std(correction=0).item()
    assert standardize.scale[2:].tolist() == pytest.approx([1 / std] * 2, rel=1e-4)
    assert any(isinstance(module, Rescale) for module in net)
    code, said, _ = run_cli("evaluate", out, "--json")
    assert code == 0
    again = json.loads(said)["networks"]["pruned"]
    assert again["rmse"] == json.loads((out / "metrics.json").read_text())["networks"]["pruned"]["rmse"]
    assert run_cli(*arguments, "--resume", *FAST)[0] == 0, "the run in the folder is of the same recipe"


@pytest.mark.parametrize(
    ("target", "likelihood", "outputs"),
    [
        ("grade", "categorical", 3),
        ("stars", "categorical", 4),
        ("sold", "categorical", 2),
        ("sold", "bernoulli", 1),
        ("stars", "ordered-logistic", 1),
        ("stars", "normal", 1),
        ("stars", "student-t", 1),
        ("stars", "poisson", 1),
        ("stars", "negative-binomial", 1),
        ("stars", "heteroscedastic-normal", 2),
        ("stars", "mixture-of-normals", 6),
    ],
)
def test_the_likelihood_says_how_a_target_is_read(
    flats: Path, tmp_path: Path, target: str, likelihood: str, outputs: int
) -> None:
    options = {"ordered-logistic": "{classes: auto}", "mixture-of-normals": "{components: 2}"}.get(likelihood, "{}")
    keys = (f"--model.likelihood={likelihood}", f"--model.likelihood_args={options}")
    arguments = ("--data.name", flats, "--data.target", target, "--out", tmp_path / "out", *FAST, "--train.epochs=1")
    code, _, err = run_cli("train", "tabular", *arguments, *keys)
    assert (code, err) == (0, "")
    recipe = read_yaml(tmp_path / "out" / "recipe.yaml")
    assert recipe["model"]["sizes"][-1] == outputs
    assert set(recipe["model"]["likelihood_args"].values()) <= {2, 4}
    y = load_run(tmp_path / "out").data.y_train
    assert y.is_floating_point() == (likelihood not in ("categorical", "ordered-logistic"))


def test_every_phase_keeps_the_standardization(flats: Path, tmp_path: Path) -> None:
    phases = ("--pretrain.epochs=1", "--pretrain.dropout=0.1", "--finetune.epochs=1", "--train.guide", "group")
    keys = ("--model.prior=normal-jeffreys", "--train.train_threshold=null", "--data.validation=0.2", "--train.epochs=1")
    arguments = ("--data.name", flats, "--data.target=price", "--data.drop=[grade, stars, sold]", "--out", tmp_path / "out")
    code, _, err = run_cli("train", "tabular", *arguments, *FAST, *phases, *keys)
    assert (code, err) == (0, "")
    run, net = load_run(tmp_path / "out"), load_pruned(tmp_path / "out" / "pruned.safetensors")
    assert len(run.train[0]) == 38, "a fifth of 48 is held out"
    wanted = Standardize(4).fit(run.train[0])
    for found in (net, run.model):
        (standardize,) = (module for module in found.modules() if isinstance(module, Standardize))
        assert torch.equal(standardize.mean, wanted.mean)
        assert torch.equal(standardize.scale, wanted.scale)


def test_every_likelihood_is_tried() -> None:
    (mark,) = test_the_likelihood_says_how_a_target_is_read.pytestmark  # type: ignore[attr-defined]
    assert {likelihood for _, likelihood, _ in mark.args[1]} == set(LIKELIHOODS)


@pytest.mark.slow
def test_a_sweep_goes_on(flats: Path, tmp_path: Path) -> None:
    """Its recipe has no sizes yet, those in its folders have."""
    arguments = ("sweep", "--data.name", flats, "--data.target", "price", "--seeds=2", "--jobs=1", "--out", tmp_path / "out")
    for _ in range(2):
        code, said, err = run_cli(*arguments, *FAST, "--json")
        assert (code, err) == (0, "")
        assert json.loads(said)["settings"][0]["seeds"] == [0, 1]


def test_bad_input(flats: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    quoted = ["size, same, city, price", "'Price'", "did you mean 'price'?", str(flats)]
    refused("train", "--data.name", flats, "--data.target", "Price", *out, quoted=quoted)
    refused("train", "--data.name", flats, *out, quoted=["target", "size, same, city, price"])
    refused("train", "digits", "--data.target", "y", *out, quoted=["target", "'y'", "'digits'"])
    refused("train", "--data.name", tmp_path / "nosuch.csv", *out, quoted=["recipe", "tabular", "nosuch.csv", "exist"])
    flats.with_suffix(".tsv").write_text("x\ty\n")
    refused("train", "--data.name", flats.with_suffix(".tsv"), *out, quoted=[".tsv' is of no such kind", ".parquet"])
    refused("train", "--data.name", "digits", *out, quoted=["'digits' is built in"])
    refused("train", "tabular", "--data.name", tmp_path / "nosuch.csv", *out, quoted=["nosuch.csv", ".parquet"])
    bad = ("--data.name", flats, "--data.target", "grade", "--model.likelihood")
    refused("train", "tabular", *bad, "normal", *out, quoted=["'grade'", "low"])
    refused(
        *("train", "tabular", *bad, "ordered-logistic", "--model.likelihood_args={classes: auto}", *out),
        quoted=["'grade'", "ordered-logistic", "high, low, middle"],
    )
    refused("train", "digits", "--model.sizes=[64, auto, 10]", *out, quoted=["sizes", "auto"])
    refused("train", "digits", "--model.sizes=[64, autos, 10]", *out, quoted=["sizes", "autos"])
    refused(
        *("train", "imdb.yaml", *out),
        quoted=["imdb.yaml", "tabular"],
    )
    assert not (tmp_path / "out").exists()


def test_what_is_said_of_a_table_is_said_once(flats: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pd.read_csv(flats).to_csv(flats)  # with an index
    _, _, err = run_cli(
        "train", "--data.name", flats, "--data.target=sold", "--out", tmp_path / "out", FAST[0], FAST[1], FAST[3]
    )
    assert caplog.text.count("counts the rows") == err.count("2 classes (False, True)") == 1


def test_arrays_of_numbers_take_the_same_recipe(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz")
    arguments = ("train", "--data.name", tmp_path / "a.npz", "--out", tmp_path / "out", *FAST)
    assert run_cli(*arguments)[0] == 0
    sizes = read_yaml(tmp_path / "out" / "recipe.yaml")["model"]["sizes"]
    assert (sizes[0], sizes[-1]) == (4, 3)


def test_images_take_a_convolutional_network(tmp_path: Path) -> None:
    arguments = ("train", "--data.name", write_images(tmp_path / "images"), "--out", tmp_path / "out", "--data.validation=0")
    assert run_cli(*arguments, *FAST)[0] == 0
    assert read_yaml(tmp_path / "out" / "recipe.yaml")["model"]["args"] == {"shape": [3, 4, 5], "classes": 2}


def test_other_data_to_measure_must_have_the_same_classes_and_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    images = write_images(tmp_path / "images")
    assert run_cli("train", "--data.name", images, "--out", out, "--data.validation=0", *FAST)[0] == 0
    for part in ("train", "test"):
        (images / part / "cat").rename(images / part / "zebra")
    copy = images.rename(tmp_path / "other")
    refused("evaluate", out, "--data", copy, quoted=["dog, zebra", "cat, dog"])
    texts = tmp_path / "texts"
    texts.mkdir()
    for part in ("train", "test"):
        lines = [json.dumps({"text": f"film {'good' if n % 2 else 'bad'}", "label": n % 2}) for n in range(12)]
        (texts / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    assert run_cli("train", "--data.name", texts, "--out", tmp_path / "text", "--data.validation=0", *FAST)[0] == 0
    caplog.clear()
    assert run_cli("evaluate", tmp_path / "text", "--data", texts)[0] == 0
    assert not caplog.messages
    assert run_cli("evaluate", tmp_path / "text", "--data", texts.rename(tmp_path / "moved"))[0] == 0
    assert "numbered by its own training texts" in caplog.text


def test_classes_and_features_of_other_data_have_names(tmp_path: Path) -> None:
    assert load_data(str(write_images(tmp_path / "images"))).classes == ("cat", "dog")
    assert len(load_data("diabetes").features or ()) == 10
