"""Recipes that give settings by site or pattern: they reach the model, the guide, the training and the pruning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import refuses, run_cli

from pyro_vd import load_pruned, load_run, train_run
from pyro_vd.distributions.priors import LogUniform, NormalARD
from pyro_vd.evaluation.class_labels import base_distribution
from pyro_vd.workflow.finished_run import run_rule
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.recipe_files import parse_recipe

SHORT = {"epochs": 2, "batch_size": 200}


def recipe(**changes: Any) -> Recipe:
    """A recipe of a small network; changes are ``phase__key``."""
    tree: dict[str, Any] = {"model": {"sizes": [64, 12, 10]}, "data": {"validation": 100}, "device": "cpu", "pretrain": {}}
    tree |= {phase: dict(SHORT) for phase in ("pretrain", "train", "finetune")} | {"prune": {}}
    for key, value in changes.items():
        part, name = key.split("__")
        tree[part][name] = value
    return parse_recipe(tree)


def test_settings_by_pattern_reach_what_they_are_for(tmp_path: Path) -> None:
    given = recipe(
        model__include=["*.bias"],
        model__prior={"*.bias": "ard", "*": "log-uniform"},
        train__guide={"kind": "variational", "log_sigma2": {"1.*": -7, "*": -9}},
        train__kl_weights={"3.*": 0.0, "*": 1},
        prune__thresholds={"3.weight": -100},
    )
    train_run(given, tmp_path / "run", progress=False)
    run = load_run(tmp_path / "run")
    assert run.recipe == given.from_anywhere()
    priors = {name: type(base_distribution(run.guide.model.prior(name))) for name in run.guide.site_names}
    assert priors == {"1.weight": LogUniform, "1.bias": NormalARD, "3.weight": LogUniform, "3.bias": NormalARD}
    net = given.model.build()
    fresh = given.train.guide.build(given.model.bayesian(net, given.model.build_likelihood(net)))
    assert [fresh.site(name).log_sigma2.unique().tolist() for name in fresh.site_names] == [[-7], [-7], [-9], [-9]]
    assert run_rule(run) == given.prune.rule()
    kept = {name: mask.double().mean().item() for name, mask in run_rule(run).masks(run.guide).items()}
    assert kept["3.weight"] == 0.0
    assert kept["1.weight"] > 0.5


def test_the_kl_of_a_site_has_its_weight(tmp_path: Path) -> None:
    means = []
    for factor in (0.0, 1000.0):
        train_run(recipe(train__kl_weights={"3.*": factor}, train__lr=0.05), tmp_path / str(factor), progress=False)
        means.append(load_run(tmp_path / str(factor)).guide.site("3.weight").log_sigma2.mean().item())
    assert means[0] < means[1] - 0.1


@pytest.mark.parametrize(
    ("key", "value", "name", "said"),
    [
        ("train__kl_weights", {"9.*": 1}, "train.kl_weights", "1.weight, 3.weight"),
        ("finetune__kl_weights", {"9.*": 1}, "finetune.kl_weights", "1.weight, 3.weight"),
        ("train__kl_weights", {"*": -1}, "train.kl_weights of '*'", "1e+12"),
        ("train__guide", {"kind": "variational", "log_sigma2": {"1.*": -7}}, "log_sigma2", "3.weight"),
        ("train__guide", {"kind": "variational", "log_sigma2": {"*": 7}}, "train.guide.log_sigma2", "-60"),
        ("train__guide", {"kind": "group", "log_sigma2": {"*": 7}}, "train.guide.log_sigma2", "-60"),
        ("prune__thresholds", {"x.weight": 2}, "thresholds", "3.weight"),
        ("prune__thresholds", {"3.weight": 200}, "prune.thresholds.3.weight", "100"),
        ("prune__max_inputs", [5], "prune.max_inputs", "2"),
        ("model__include", ["*.bia"], "include", "1.bias"),
        ("model__exclude", ["9.weight"], "exclude", "1.weight"),
        ("model__prior", {"1.*": "ard"}, "prior", "3.weight"),
        ("model__prior", {"*": "normal-jeffreys"}, "model.prior", "log-uniform"),
    ],
)
def test_what_fits_no_site_is_refused_before_anything_is_written(
    tmp_path: Path, key: str, value: Any, name: str, said: str
) -> None:
    with refuses(name) as caught:
        train_run(recipe(**{key: value}), tmp_path / "run", progress=False)
    assert said in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_thresholds_above_that_of_the_training_are_refused() -> None:
    with refuses("prune.thresholds.3.weight", 4.0):
        recipe(train__train_threshold=3.0, prune__thresholds={"3.weight": 4})


def test_a_finished_run_is_pruned_again_by_the_thresholds_of_its_sites(tmp_path: Path) -> None:
    train_run(recipe(prune__thresholds={"3.weight": -100}), folder := tmp_path / "run", progress=False)
    for options, removes_all in (([], True), (["--max-inputs", "64", "12"], True), (["--threshold", "3"], False)):
        out = tmp_path / f"{len(options)}.safetensors"
        code, _, err = run_cli("prune", folder, *options, "--out", out)
        assert code == 0, err
        weight = load_pruned(out).state_dict()["3.weight"]
        assert (not weight.any()) == removes_all, options
        out.unlink()
