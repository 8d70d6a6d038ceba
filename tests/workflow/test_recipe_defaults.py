"""A recipe that leaves a setting out trains as Python does, and one that gives a setting in vain is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import nn

from pyro_vd import BayesianNetwork, GroupVariationalDropout, VariationalDropout
from pyro_vd.data import RandomAffine
from pyro_vd.distributions import LogUniform, NormalJeffreys
from pyro_vd.guides import GuideSettings, LogNormalDropout
from pyro_vd.runs import recipes
from pyro_vd.workflow.phases import TrainConfig
from pyro_vd.workflow.recipe_files import parse_recipe, read_recipe

GUIDES: dict[str, tuple[Any, Any, float]] = {
    "variational": (VariationalDropout, LogUniform, -10.0),
    "group": (GroupVariationalDropout, NormalJeffreys, -8.0),
    "log-normal": (LogNormalDropout, LogUniform, -8.0),
}


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_starts_at_its_own_default(name: str) -> None:
    guide, prior, start = GUIDES[name]
    model = BayesianNetwork(nn.Linear(4, 3), prior=prior)
    settings = GuideSettings.kinds[name]
    by_recipe, by_hand = settings().build(model).state_dict(), guide(model).state_dict()
    assert by_recipe.keys() == by_hand.keys()
    assert all(torch.equal(value, by_hand[key]) for key, value in by_recipe.items())
    starts = [value for key, value in by_recipe.items() if key.endswith("log_sigma2")]
    assert starts
    assert all(bool((value == start).all()) for value in starts)
    other = settings(log_sigma2=-3.0).build(model)
    assert all(bool((value == -3).all()) for key, value in other.state_dict().items() if key.endswith("log_sigma2"))


@pytest.mark.parametrize("name", recipes())
def test_shipped_recipes_say_where_their_guide_starts(name: str) -> None:
    """So that their results do not change with a guide's default."""
    assert {"kind", "log_sigma2"} <= read_recipe(name)["train"]["guide"].keys()


@pytest.mark.parametrize("guide", ["gaussian", "bernoulli", "none"])
def test_hold_is_refused_where_no_alpha_is_learnt(guide: str) -> None:
    settings = GuideSettings.kinds[guide]()
    with refuses("train_threshold", 3.0, guide):
        TrainConfig(guide=settings, train_threshold=3.0)
    with refuses("train.train_threshold", 3.0, guide, "recipe"):
        parse_recipe({"train": {"guide": guide, "train_threshold": 3.0}})
    with refuses("train.guide.weight_noise", True, "recipe", guide):
        parse_recipe({"train": {"guide": {"kind": guide, "weight_noise": True}}})
    assert TrainConfig(guide=settings).train_threshold is None


def test_settings_of_a_guide_are_wanted() -> None:
    with refuses("guide", "group", "VariationalDropoutSettings()"):
        TrainConfig(guide="group")  # type: ignore[arg-type]


KEYS: dict[str, dict[str, Any]] = {
    "augment.degrees (=200.0)": {"augment": {"degrees": 200}},
    "pretrain.lr_schedule.after (=2.0)": {"pretrain": {"lr_schedule": {"kind": "linear", "after": 2}}},
    "train.kl_weight.end (=1.0)": {"train": {"kl_weight": {"start": 2, "end": 1}}},
    "finetune.kl_weight.value (=1e+300)": {"finetune": {"kl_weight": {"value": 1e300}}},
    "finetune.lr (=0.0)": {"finetune": {"lr": 0}},
    "pretrain.dropout (=1.0)": {"pretrain": {"dropout": 1}},
    "train.guide.p (=1.0)": {"train": {"guide": {"kind": "gaussian", "p": 1}}},
    "prune.threshold (=101.0)": {"prune": {"threshold": 101}},
    "prune.max_inputs[1] (=-2)": {"prune": {"max_inputs": [1, -2]}},
    "data.validation (=-1)": {"data": {"validation": -1}},
    "model.sizes (=[0, 1])": {"model": {"sizes": [0, 1]}},
    "threads (=0)": {"threads": 0},
}


@pytest.mark.parametrize("name", KEYS)
def test_a_value_goes_by_the_name_that_the_recipe_has_for_it(name: str) -> None:
    with refuses(name.split()[0], ANYTHING, f"recipe: {name}"):
        parse_recipe(KEYS[name])


def test_in_python_it_goes_by_its_own_name() -> None:
    with refuses("degrees", 200):
        RandomAffine(degrees=200)
