"""Recipes that name a network by its import path, and import nothing that the user does not trust."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support import refuses, run_cli, write_npz
from torch import nn

from pyro_vd import load_run, train_run
from pyro_vd.networks import lenet5
from pyro_vd.workflow import named_networks, parse_recipe, trust
from pyro_vd.workflow.model_config import ModelConfig
from pyro_vd.workflow.named_networks import named_network, trusted
from pyro_vd.workflow.recipe_files import recipe_text, recipe_with

FOREIGN = "torch.nn.Linear"
MODULE = """
import pathlib
import sys

from torch import nn

pathlib.Path(__file__).with_suffix(".ran").touch()


class Net(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.first, self.last = nn.Linear(4, hidden), nn.Linear(hidden, 3)

    def forward(self, x):
        return self.last(self.first(x.flatten(1)).relu())


class Normed(Net):
    def __init__(self):
        super().__init__(5)
        nn.utils.parametrizations.weight_norm(self.first)


def nothing():
    return 3


def fails():
    raise OSError("no disk")


number = 7
"""
SHORT = ["--pretrain.epochs=1", "--train.epochs=2", "--finetune.epochs=1", "--device=cpu", "--quiet", "--json"]


@pytest.fixture(autouse=True)
def _nothing_is_trusted(monkeypatch):
    monkeypatch.setattr(named_networks, "_trusted", set())


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    path = tmp_path / "their_module.py"
    path.write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield path.with_suffix(".ran")
    sys.modules.pop("their_module", None)


def test_networks_of_the_library_need_no_trust():
    torch.manual_seed(0)
    net = ModelConfig(class_="pyro_vd.networks.lenet5", args={"classes": 4}).build()
    torch.manual_seed(0)
    wanted = lenet5(4)
    assert str(net) == str(wanted)
    for mine, its in zip(net.parameters(), wanted.parameters(), strict=True):
        assert torch.equal(mine, its)


def test_a_recipe_alone_imports_nothing(foreign):
    recipe = parse_recipe({"model": {"class": "their_module.Net", "args": {"hidden": 4}}})
    assert recipe.model.class_ == "their_module.Net"
    assert "their_module" in recipe_text(recipe)
    with refuses("model.class", "their_module.Net", "--trust their_module"):
        recipe.model.build()
    assert not foreign.exists(), "its code has not run"
    trust("their_module")
    assert trusted() == ("their_module",)
    assert recipe.model.build()(torch.randn(2, 4)).shape == (2, 3)
    assert foreign.exists()


def test_trust_is_for_a_package_and_what_is_inside_it():
    trust("torch.nn")
    assert isinstance(named_network(FOREIGN, {"in_features": 2, "out_features": 3}), nn.Linear)
    for path in ("torch.load", "torch.nnx.Linear", "os.system", "torch.nn"):
        with refuses("model.class", path):
            named_network(path, {})
    for bad in ("", "a b", "torch.", ".nn", "--x", 3):
        with refuses("trust", bad):
            trust(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "name", "mentioned"),
    [
        ("their_module.Net", "model.args", "hidden"),
        ("their_module.fails", "model.args", "no disk"),
        ("their_module.nothing", "model.class", "int"),
        ("their_module.number", "model.class", "int"),
        ("their_module.missing", "model.class", "missing"),
        ("their_module.deeper.Net", "model.class", "deeper"),
    ],
)
@pytest.mark.usefixtures("foreign")
def test_what_makes_no_network_is_refused(path, name, mentioned):
    trust("their_module")
    with refuses(name) as caught:
        named_network(path, {})
    assert mentioned in str(caught.value)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ({"class": "a.b", "sizes": [4, 2]}, "model.sizes"),
        ({"args": {"classes": 3}}, "model.args"),
        ({"class": "no path"}, "model.class"),
        ({"class": "name"}, "model.class"),
        ({"class": "a..b"}, "model.class"),
        ({"class": 3}, "model.class"),
        ({"class_": "a.b"}, "model.class_"),
        ({"class": "a.b", "args": [1]}, "model.args"),
    ],
)
def test_a_model_that_does_not_fit_is_refused(model, name):
    with refuses(name):
        parse_recipe({"model": model})


def test_the_key_is_class_in_files_and_on_the_command_line():
    recipe = recipe_with({}, {"model.class": "a.b", "model.args": "{x: [1, {y: z}]}"})
    assert recipe.model.args == {"x": [1, {"y": "z"}]}
    assert "class: a.b" in recipe_text(recipe)
    assert parse_recipe({"model": {"class": "a.b"}}).model.sizes is None
    assert parse_recipe({}).model.units == [64, 100, 10]
    with refuses("pretrain.dropout", 0.5):
        recipe.model.build(dropout=0.5)


@pytest.mark.slow
def test_a_run_of_a_network_of_others(foreign, tmp_path):
    write_npz(data := tmp_path / "data.npz")
    recipe = tmp_path / "theirs.yaml"
    recipe.write_text(f"data: {{name: {data}}}\nmodel: {{class: their_module.Net, args: {{hidden: 5}}}}\n")
    out = tmp_path / "out"
    code, _, error = run_cli("train", recipe, "--out", out, *SHORT)
    assert (code, "--trust their_module" in error) == (2, True)
    assert not out.exists()
    assert not foreign.exists()
    trained = _answer("train", recipe, "--out", out, "--trust", "their_module", *SHORT)
    named_networks._trusted.clear()
    assert run_cli("evaluate", out)[0] == 2
    measured = _answer("evaluate", out, "--trust", "their_module", "--json")
    assert measured["networks"]["pruned"] == trained["networks"]["pruned"]
    assert _answer("inspect", out, "--trust", "their_module", "--num-samples=5", "--json")
    assert _answer("prune", out, "--trust", "their_module", "--threshold=1", "--json")
    for name in ("safetensors", "sparse", "quantised", "torch"):
        for number, options in enumerate(((), ("--no-compact",))):
            target = tmp_path / f"{name}{number}"
            written = _answer("export", out, "--trust=their_module", f"--format={name}", f"--out={target}", "--json", *options)
            assert written["networks"][name]["largest_difference"] < (1 if name == "quantised" else 1e-5)
            assert target.exists()


@pytest.mark.usefixtures("foreign")
def test_a_layer_without_a_prior_is_trained_in_every_phase(tmp_path):
    write_npz(data := tmp_path / "data.npz")
    trust("their_module")
    recipe = parse_recipe(
        {
            "data": {"name": str(data)},
            "model": {"class": "their_module.Normed", "include": ["last.bias"], "exclude": ["first.*"]},
            **{phase: {"epochs": 1} for phase in ("pretrain", "train", "finetune")},
            "device": "cpu",
        }
    )
    metrics = train_run(recipe, tmp_path / "out", progress=False)
    assert set(metrics["seconds"]) == {"pretrain", "train", "finetune"}
    assert list(load_run(tmp_path / "out").guide.site_names) == ["last.weight", "last.bias"]


def _answer(*arguments: str | Path) -> dict[str, Any]:
    code, out, error = run_cli(*arguments)
    assert code == 0, error
    answer: dict[str, Any] = json.loads(out)
    return answer
