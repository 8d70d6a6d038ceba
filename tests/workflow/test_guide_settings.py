"""A guide of one's own is chosen by a recipe like the built-in ones: its file and one registration are all that it needs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import torch
import yaml
from support import SMALL, refused, refuses, run_cli
from torch import Tensor

from pyro_vd import BayesianNetwork, load_run
from pyro_vd._core.arguments import check_number
from pyro_vd.distributions.weight_posterior import MultiplicativeNormal
from pyro_vd.guides import GuideSettings, WeightGuide, register_guide
from pyro_vd.workflow.recipe_files import parse_recipe, read_recipe


class LayerNoise(WeightGuide):
    """q(w) = N(θ, σ²) with one learnt σ² per layer."""

    learns_alpha = True

    def __init__(self, model: BayesianNetwork, log_sigma2: float) -> None:
        self.initial_log_sigma2 = log_sigma2
        super().__init__(model)

    def initial_parameters(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        return {**super().initial_parameters(name, weight), "log_sigma2": weight.new_tensor(self.initial_log_sigma2)}

    def posterior(self, name: str) -> MultiplicativeNormal:
        log_sigma2 = self.site(name).log_sigma2.expand_as(self.site(name).theta)
        if (mask := self.mask(name)) is not None:
            log_sigma2 = torch.where(mask, log_sigma2, -1e30)
        return MultiplicativeNormal(self.mean(name), log_sigma2)


@dataclass
class LayerNoiseSettings(GuideSettings):
    """Noise of one variance per layer."""

    kind: Literal["layer-noise"] = field(default="layer-noise", init=False)
    log_sigma2: float = -7.0
    """log σ² of every layer at the start."""

    guide = LayerNoise

    def __post_init__(self) -> None:
        self.log_sigma2 = check_number("log_sigma2", self.log_sigma2, low=-60, high=0)

    def build(self, model: BayesianNetwork) -> LayerNoise:
        return LayerNoise(model, self.log_sigma2)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GuideSettings, "kinds", dict(GuideSettings.kinds))
    register_guide(LayerNoiseSettings)


@pytest.mark.usefixtures("registered")
def test_a_recipe_trains_it(tmp_path: Path) -> None:
    (path := tmp_path / "mine.yaml").write_text("train: {guide: {kind: layer-noise, log_sigma2: -5}}")
    code, _, err = run_cli("train", "digits", "--config", path, *SMALL, "--out", tmp_path / "run", "--quiet")
    assert code == 0, err
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["train"]["guide"] == {
        "kind": "layer-noise",
        "log_sigma2": -5.0,
    }
    run = load_run(tmp_path / "run")
    assert isinstance(run.guide, LayerNoise)
    for name in run.guide.site_names:
        learnt = run.guide.site(name).log_sigma2
        assert learnt.shape == ()
        assert learnt.item() != -5.0, "it was trained"
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["networks"]["pruned"]["error"] < 0.9
    assert run_cli("prune", tmp_path / "run", "--threshold=1")[0] == 0


@pytest.mark.usefixtures("registered")
def test_it_is_documented_and_checked(tmp_path: Path) -> None:
    _, out, _ = run_cli("train", "--help")
    for text in (
        "layer-noise: Noise of one variance per layer.",
        "layer-noise: log σ² of every layer at the start. (default: -7.0)",
    ):
        assert "".join(text.split()) in "".join(out.split())
    settings = ["--train.guide=layer-noise", "--out", tmp_path / "run"]
    refused("train", "digits", *settings, "--train.guide.log_sigma2=1", quoted=["train.guide.log_sigma2 (=1.0)", "<= 0"])
    refused(
        "train",
        "digits",
        *settings,
        "--train.guide.alpha_sharing=row",
        quoted=["'train.guide.alpha_sharing'", "'layer-noise'"],
    )
    refused("train", "digits", "--train.guide=layer-nose", quoted=["train.guide", "(=layer-nose)", "'layer-noise'"])


@pytest.mark.parametrize(
    ("keys", "guide"),
    [
        ([], {"kind": "variational", "log_sigma2": -8.0, "alpha_sharing": "weight"}),
        (["--train.guide.alpha_sharing=row"], {"kind": "variational", "log_sigma2": -8.0, "alpha_sharing": "row"}),
        (["--train.guide=variational"], {"kind": "variational", "log_sigma2": -8.0, "alpha_sharing": "weight"}),
        (["--train.guide=log-normal"], {"kind": "log-normal", "log_sigma2": -8.0, "weight_noise": False, "shared": False}),
        (
            ["--train.guide.weight_noise=true", "--train.guide.kind=log-normal"],
            {"kind": "log-normal", "log_sigma2": -8.0, "weight_noise": True, "shared": False},
        ),
        (
            ["--train.guide={kind: gaussian, p: 0.1}", "--train.train_threshold=null", "--finetune.epochs=0"],
            {"kind": "gaussian", "p": 0.1, "noise_on": "weight"},
        ),
    ],
)
def test_another_kind_starts_from_its_own_defaults(keys: list[str], guide: dict[str, object]) -> None:
    """And the same kind keeps what the recipe gives; the order of the options does not matter."""
    code, out, err = run_cli("train", "digits", *keys, "--print-config")
    assert (code, err) == (0, "")
    assert yaml.safe_load(out)["train"]["guide"] == guide


def test_the_short_form_in_a_file() -> None:
    content = read_recipe("digits")
    content["train"]["guide"] = "log-normal"
    assert parse_recipe(content).train.guide == GuideSettings.kinds["log-normal"]()
    with refuses("train.guide.kind", 3, "recipe", "'variational', 'group'"):
        parse_recipe({"train": {"guide": {"kind": 3}}})
