"""What a newcomer mixes up in Python is answered by a sentence, not by an error from deep inside."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn
from torch.nn.utils.prune import random_unstructured

from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    VariationalDropout,
    choose_threshold,
    compact,
    evaluate,
    fit,
    load_data,
    predict,
    prune,
    save_pruned,
)
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.guides import GaussianDropout, LogNormalDropout, PointEstimate
from pyro_vd.models import MLP, Normal
from pyro_vd.training import MetricsLog


class Pair(nn.Linear):
    """Gives two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return super().forward(x), x


def normed() -> nn.Module:
    with pytest.warns(FutureWarning):
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3)))


def torch_pruned() -> nn.Module:
    return nn.Sequential(random_unstructured(nn.Linear(4, 3), "weight", 0.5))


def pair_of(net: nn.Module) -> tuple[BayesianNetwork, VariationalDropout]:
    model = BayesianNetwork(net)
    return model, VariationalDropout(model)


RUN = {"epochs": 1}
DATA = torch.rand(9, 4), torch.arange(9) % 3
MODEL = MLP((4, 3))
GUIDE = VariationalDropout(MODEL)
CLASSES = nn.Linear(4, 1)
WRONG: dict[str, tuple[Callable[[], object], tuple[object, ...]]] = {
    "fit: a pair as the guide": (lambda: fit(DATA, DATA, **RUN), (ANYTHING, ANYTHING, "guide", "tuple")),
    "fit: a model and its guide": (lambda: fit(MODEL, GUIDE, DATA, epochs=1), (ANYTHING, ANYTHING, "guide", "MLP")),
    "a guide of a network": (lambda: VariationalDropout(nn.Linear(4, 3)), (ANYTHING, ANYTHING, "model", "Linear")),
    "prune: a model": (lambda: prune(MODEL), (ANYTHING, ANYTHING, "guide", "MLP")),
    "prune: a network": (lambda: prune(nn.Linear(4, 3)), (ANYTHING, ANYTHING, "guide", "Linear")),
    "fit: test data to validate": (
        lambda: fit(GUIDE, DATA, load_data("digits"), epochs=1),
        (ANYTHING, ANYTHING, "validation data", "Dataset"),
    ),
    "fit: three": (lambda: fit(GUIDE, (*DATA, 1), epochs=1), (ANYTHING, ANYTHING, "training data", "tuple of 3")),
    "fit: other precision": (
        lambda: fit(GUIDE, (DATA[0].double(), DATA[1]), epochs=1),
        ("training data", torch.float64, "torch.float32"),
    ),
    "fit: labels from 1": (lambda: fit(GUIDE, (DATA[0], DATA[1] + 1), **RUN), ("training data", 3, 3)),
    "evaluate: a model": (lambda: evaluate(MODEL, DATA), ("net", MODEL, "evaluate", "MLP", "VariationalDropout(model)")),
    "evaluate: a pair": (lambda: evaluate((MODEL, 3), DATA), ("net", (MODEL, 3), "evaluate", "tuple")),
    "evaluate: a second likelihood": (lambda: evaluate(GUIDE, DATA, likelihood=Normal()), ("likelihood", "Normal")),
    "prior by name": (
        lambda: BayesianNetwork(CLASSES, prior="normal-jeffreys"),
        (ANYTHING, ANYTHING, "prior", "'normal-jeffreys'"),
    ),
    "likelihood by name": (lambda: BayesianNetwork(CLASSES, "normal"), ("likelihood", ANYTHING, "'normal'")),
    "likelihood by class": (lambda: BayesianNetwork(CLASSES, Normal), ("likelihood", ANYTHING, "Normal'>")),
    "a function as a network": (lambda: BayesianNetwork(lambda x: x), (ANYTHING, ANYTHING, "net", "function", "nn.Module")),
    "predict: one output": (lambda: predict(CLASSES, DATA[0]), ("net", (9, 1), "likelihood=model.likelihood")),
    "save: a model": (lambda: save_pruned(MODEL, "never.safetensors"), (ANYTHING, ANYTHING, "net", "MLP")),
    "compact: a guide": (lambda: compact(GUIDE), (ANYTHING, ANYTHING, "net", "VariationalDropout")),
    "predict: a model": (lambda: predict(MODEL, DATA[0]), ("net", MODEL, "predict", "MLP")),
    "no folder for a checkpoint": (
        lambda: fit(GUIDE, DATA, epochs=1, checkpoint="no/such/c.pt"),
        ("checkpoint", "no/such/c.pt", "'no/such'"),
    ),
    "no folder for a log": (lambda: MetricsLog(Path("no/log")), ("log", Path("no/log"), "'no'")),
    "weight_norm": (lambda: BayesianNetwork(normed()), (ANYTHING, ANYTHING, "remove_weight_norm")),
    "torch's pruning": (lambda: BayesianNetwork(torch_pruned()), (ANYTHING, ANYTHING, "prune.remove")),
    "evaluate: two outputs": (lambda: evaluate(Pair(4, 3), DATA), ("output", "tuple", "tuple", "Selected(0")),
    "fit: two outputs": (lambda: fit(pair_of(Pair(4, 3))[1], DATA, **RUN), ("output", "tuple", "output=0")),
    "choose: a label is missing": (
        lambda: choose_threshold(GUIDE, (DATA[0], DATA[1][1:])),
        ("validation data", (9, 8), 9, 8),
    ),
    "choose: inputs only": (lambda: choose_threshold(GUIDE, DATA[0]), (ANYTHING, ANYTHING, "validation data", "Tensor")),
    "half precision": (
        lambda: VariationalDropout(MLP((4, 3)).half()),
        (ANYTHING, ANYTHING, "1.weight", "float16", "VariationalDropout", "autocast"),
    ),
    "half precision, Gaussian": (
        lambda: GaussianDropout(MLP((4, 3)).half(), 0.2),
        (ANYTHING, ANYTHING, "float16", "GaussianDropout", "autocast"),
    ),
    "half precision, groups": (
        lambda: GroupVariationalDropout(BayesianNetwork(nn.Linear(4, 3).half(), prior=NormalJeffreys)),
        (ANYTHING, ANYTHING, "float16", "GroupVariationalDropout", "autocast"),
    ),
    "half precision, log-normal": (
        lambda: LogNormalDropout(MLP((4, 3)).half()),
        (ANYTHING, ANYTHING, "float16", "LogNormalDropout", "autocast"),
    ),
}


@pytest.mark.parametrize(("call", "fields"), WRONG.values(), ids=WRONG)
def test_mixed_up_arguments_are_named(call: Callable[[], object], fields: tuple[object, ...]) -> None:
    with refuses(*fields):
        call()


def test_a_number_is_a_constant_weight_of_the_kl() -> None:
    model = MLP((4, 3))
    result = fit(VariationalDropout(model), DATA, epochs=2, kl_weight=0.3, progress=False)
    assert [record.kl_weight for record in result.history] == [0.3, 0.3]


def test_progress_in_a_log_file_has_lines(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_vd.training.progress._SECONDS_A_LINE", -1.0)
    model = MLP((4, 3))
    fit(VariationalDropout(model), DATA, epochs=3)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(" loss ")[0] for line in lines[:3]] == [f"train epoch {k}" for k in (1, 2, 3)]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_where_it_works(dtype: torch.dtype) -> None:
    """Without variances it does."""
    model = MLP((4, 3)).to(dtype)
    guide = PointEstimate(model)
    fit(guide, (DATA[0].to(dtype), DATA[1]), epochs=1, progress=False)
    assert all(parameter.isfinite().all() for parameter in guide.parameters())


def test_copies_of_a_model_and_its_guide_fit_each_other() -> None:
    fit(copy.deepcopy(GUIDE), DATA, **RUN)
