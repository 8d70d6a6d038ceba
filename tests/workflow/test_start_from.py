"""A training that goes on from a finished run: with what it has learnt, without what it has removed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml
from support import SMALL, EachStep, contents, refused, run_cli

from pyro_vd import load_run, train_run
from pyro_vd.pruning.rule import pruning_masks
from pyro_vd.training import TrainingState
from pyro_vd.workflow.finished_run import run_rule
from pyro_vd.workflow.recipe_files import parse_recipe
from pyro_vd.workflow.run_folder import recipe_of

KEYS = (*SMALL, "--pretrain.epochs=0", "--finetune.epochs=0", "--train.kl_weight.end=0")


def train(start: Path | str, out: Path, *keys: str) -> Path:
    code, _, err = run_cli("train", "digits", *KEYS, "--train.start_from", start, *keys, "--out", out, "--quiet")
    assert code == 0, err
    return out


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has removed some weights."""
    out = tmp_path_factory.mktemp("first") / "run"
    code, _, err = run_cli("train", "digits", *SMALL, "--train.epochs=20", "--prune.threshold=1", "--out", out, "--quiet")
    assert code == 0, err
    return out


def test_it_starts_with_the_posterior_and_the_masks(first: Path, tmp_path: Path) -> None:
    before = load_run(first)
    after = load_run(train(first, tmp_path / "run", "--train.epochs=1", "--train.lr=1e-12"))
    masks = pruning_masks(before.guide, run_rule(before))
    for name in before.guide.site_names:
        had, has = before.guide.site(name), after.guide.site(name)
        assert torch.equal(has.mask, masks[name])
        assert 0 < int(has.mask.sum()) < has.mask.numel()
        torch.testing.assert_close(has.theta[has.mask], had.theta[has.mask])
        torch.testing.assert_close(has.log_sigma2[has.mask], had.log_sigma2[has.mask])
    for had, has in zip(before.model.net.parameters(), after.model.net.parameters(), strict=True):
        torch.testing.assert_close(has, had)


@pytest.mark.parametrize("keys", [(), ("--train.shrink=true",)])
def test_what_was_removed_stays_removed(first: Path, tmp_path: Path, keys: Sequence[str]) -> None:
    before = load_run(first)
    after = load_run(train(first, tmp_path / "run", "--train.epochs=4", "--train.lr=0.01", *keys))
    masks = pruning_masks(before.guide, run_rule(before))
    for name, mask in pruning_masks(after.guide, run_rule(after)).items():
        assert not (mask & ~masks[name]).any()
        assert not torch.equal(after.guide.site(name).theta[mask], before.guide.site(name).theta[mask]), "it has learnt"


def test_an_interrupted_one_is_resumed_bit_for_bit(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another working directory, too: the path of the first run is stored as an absolute one."""

    def interrupt(state: TrainingState) -> None:
        if state.epoch == 2:
            raise KeyboardInterrupt

    monkeypatch.chdir(first.parent)
    whole = train(first.name, tmp_path / "whole", "--train.epochs=4")
    recipe = parse_recipe(recipe_of(whole))
    assert recipe.train.start_from == str(first)
    with pytest.raises(KeyboardInterrupt):
        train_run(recipe, tmp_path / "run", progress=False, callbacks=[EachStep(interrupt)])
    monkeypatch.chdir(tmp_path)
    shutil.move(first, gone := tmp_path / "gone")  # its checkpoint holds all that is needed
    train_run(recipe, tmp_path / "run", resume=True, progress=False)
    assert train_run(recipe, whole, resume=True, progress=False)["seed"] == 0
    shutil.move(gone, first)
    assert (tmp_path / "run/posterior.safetensors").read_bytes() == (whole / "posterior.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("keys", "quoted"),
    [
        (["--pretrain.epochs=3"], ["pretrain.epochs", "3", "train.start_from"]),
        (["--model.sizes=[64,11,10]"], ["train.start_from", "model.sizes", "11", "12"]),
        (["--train.guide=group", "--model.prior=normal-jeffreys"], ["train.start_from", "train.guide.kind", "group"]),
        (["--train.guide.alpha_sharing=row"], ["train.start_from", "alpha_sharing", "row"]),
        (["--model.prior=ard"], ["train.start_from", "model.prior", "ard"]),
        (["--data.validation=99"], ["train.start_from", "data.validation", "99", "100"]),
        (["--train.start_from=nowhere"], ["train.start_from", "nowhere", "the folder of a finished run"]),
        (["--train.start_from="], ["train.start_from", "the folder of a finished run"]),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    first: Path, tmp_path: Path, keys: list[str], quoted: list[str]
) -> None:
    before = contents(first)
    refused("train", "digits", *KEYS, "--train.start_from", first, *keys, "--out", tmp_path / "run", quoted=quoted)
    assert not (tmp_path / "run").exists()
    assert contents(first) == before


def test_an_unfinished_run_is_refused(first: Path, tmp_path: Path) -> None:
    shutil.copytree(first, tmp_path / "first")
    (tmp_path / "first/metrics.json").unlink()
    refused(
        *("train", "digits", *KEYS, "--train.start_from", tmp_path / "first", "--out", tmp_path / "run"),
        quoted=[str(tmp_path / "first"), "--resume"],
    )
    assert not (tmp_path / "run").exists()


def test_a_sweep_takes_it(first: Path, tmp_path: Path) -> None:
    sweep = ("sweep", "digits", "--grid", "train.kl_weight.value=0.5,2", *KEYS, "--train.start_from", first, "--jobs=1")
    code, _, err = run_cli(*sweep, "--out", tmp_path / "sweep", "--quiet")
    assert code == 0, err
    recipes = list((tmp_path / "sweep").rglob("recipe.yaml"))
    assert len(recipes) == 2
    for path in recipes:
        assert yaml.safe_load(path.read_text())["train"]["start_from"] == str(first)
