"""A run is read from every working directory, and without its data as far as they are not needed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from support import ANYTHING, SMALL, refused, refuses, run_cli, write_images, write_npz

from pyro_vd import load_pruned, load_run, prune
from pyro_vd.workflow.recipe import DataConfig, Recipe

KEYS = [*(key for key in SMALL if "sizes" not in key and "validation" not in key), "--pretrain.epochs=0", "--finetune.epochs=0"]


@pytest.mark.parametrize("kind", ["npz", "images"])
def test_absolute_paths_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir(), there.mkdir()
    if kind == "npz":
        write_npz(here / "mine")
        (here / "mine").rename(here / "mine.npz")
    else:
        write_images(here / "mine.npz")
    monkeypatch.chdir(here)
    size = "[4,5,3]" if kind == "npz" else "[60,5,2]"
    keys = ["--data.name", "mine.npz", "--data.validation=3", f"--model.sizes={size}", *KEYS]
    code, _, err = run_cli("train", "digits", *keys, "--out", "run", "--quiet")
    assert code == 0, err
    assert yaml.safe_load((here / "run" / "recipe.yaml").read_text())["data"]["name"] == str(here / "mine.npz")
    assert run_cli("train", "digits", *keys, "--out", "run", "--resume", "--quiet")[0] == 0, "the same run"
    monkeypatch.chdir(there)
    run = load_run(here / "run")
    assert run.validation is not None
    assert len(run.validation[0]) == 3
    assert len(run.train[0]) + 3 == len(run.data.x_train)
    for command in ("evaluate", "inspect", "prune"):
        code, _, err = run_cli(command, here / "run", "--json")
        assert code == 0, err
    assert run_cli("export", here / "run", "--format", "sparse", "--json")[0] == 0

    shutil.move(here / "mine.npz", tmp_path / "gone")
    run = load_run(here / "run")
    assert "data" not in repr(run).replace("data=DataConfig", "").replace("data_dir", "")
    prune(run.guide, 2.5)
    for part in ("data", "train", "validation"):
        with refuses("data", ANYTHING, "mine.npz", "digits"):
            getattr(run, part)
    refused("evaluate", here / "run", quoted=["mine.npz"])
    refused("prune", here / "run", "--max-error-rise=0.1", quoted=["mine.npz"])
    out = there / "pruned.safetensors"
    code, said, err = run_cli("prune", here / "run", "--threshold=2.5", "--out", out, "--json")
    assert code == 0, err
    assert json.loads(said) == {"file": str(out), "threshold": 2.5, "networks": {}}
    load_pruned(out)


def test_names_of_built_in_data_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    assert Recipe(DataConfig("digits", dir="root")).from_anywhere().data == DataConfig("digits", dir=str(tmp_path / "root"))


def test_a_root_that_is_given_is_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run_cli("train", "digits", *SMALL, "--data-dir", "root", "--out", "run", "--quiet")
    assert code == 0, err
    assert yaml.safe_load(Path("run/recipe.yaml").read_text())["data"]["dir"] == str(tmp_path / "root")
