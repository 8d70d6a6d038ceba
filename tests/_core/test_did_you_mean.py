"""A name that is nearly right: the message, still one line, ends with the right one. Nothing is guessed where none is close."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import ANYTHING, refused, refuses
from torch import nn

from pyro_vd import BayesianNetwork, VariationalDropout, save_pruned, to_inference_data
from pyro_vd._core.messages import did_you_mean
from pyro_vd.models import MLP
from pyro_vd.workflow.recipe_files import parse_recipe


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["trian", "digits"], "train"),
        (["train", "digts"], "digits"),
        (["train", "digits", "--train.epoch=3"], "train.epochs"),
        (["train", "digits", "--trian.kl_weight.end", "2"], "train.kl_weight.end"),
        (["train", "digits", "--data.name=MNIS"], "mnist"),
        (["train", "digits", "--train.lr_schedule.kind=step"], "steps"),
        (["train", "digits", "--train.guide=bernouli"], "bernoulli"),
        (["train", "digits", "--train.guide.kind=bernouli"], "bernoulli"),
        (["train", "digits", "--train.log_sigma2=-8"], "train.guide.log_sigma2"),
        (["sweep", "digits", "--grid", "trian.lr=1,2"], "train.lr"),
        (["sweep", "digits", "--grid", "train.lrr=1,2"], "train.lr"),
        (["prune", "run", "--max_error_rise=1"], "max-error-rise"),
        (["compare", "run", "--sort=eror"], "error"),
        (["experiment", "report-tradeof"], "report-tradeoff"),
    ],
)
def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], meant: str) -> None:
    monkeypatch.chdir(tmp_path)
    refused(*arguments, quoted=[f"; did you mean '{meant}'?\n"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        ("train: {epoch: 3}", "train.epochs"),
        ("train: {kl_weight: {strat: 1}}", "train.kl_weight.start"),
        ("tren: {epochs: 3}", "train.epochs"),
        ("sede: 1", "seed"),
        ("train: {guide: {kind: grup}}", "group"),
        ("train: {guide: grup}", "group"),
        ("train: {guide: {log_sigma: -3}}", "train.guide.log_sigma2"),
    ],
)
def test_in_a_recipe(tmp_path: Path, content: str, meant: str) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    refused("train", tmp_path / "mine.yaml", quoted=[f"; did you mean '{meant}'?\n"])


def test_in_calls(tmp_path: Path) -> None:
    model = MLP((4, 3, 2))
    with refuses(ANYTHING, ANYTHING, "1.wieght", "; did you mean '1.weight'?"):
        to_inference_data(VariationalDropout(model), (torch.rand(2, 4), torch.tensor([0, 1])), weights={"1.wieght": "all"})
    with refuses(ANYTHING, ANYTHING, ["Weight"], "; did you mean 'weight'?"):
        BayesianNetwork(nn.Linear(3, 2), shared=["Weight"])
    with refuses("layout", "quantized", "dense, sparse, quantised", "; did you mean 'quantised'?"):
        save_pruned(nn.Linear(3, 2), tmp_path / "net", layout="quantized")  # type: ignore[arg-type]
    with refuses("train.epoch", 3, "recipe", "; did you mean 'train.epochs'?"):
        parse_recipe({"train": {"epoch": 3}})


def test_nothing_is_guessed() -> None:
    assert did_you_mean("nosuch", ["digits", "mnist"]) == did_you_mean("x", []) == did_you_mean(None, ["sparse"]) == ""
    refused("train", "digits", "--nosuch=3", quoted=["'--nosuch'; see pyro-vd train --help\n"])
