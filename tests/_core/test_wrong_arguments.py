"""What a newcomer mixes up in Python is answered by a sentence, not by an error from deep inside."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.prune import random_unstructured

from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    InputError,
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
WRONG: dict[str, Callable[[], object]] = {
    "guide is a tuple; it must be one of the model's": lambda: fit(DATA, DATA, **RUN),
    "guide is a MLP, a model; give its guide": lambda: fit(MODEL, GUIDE, DATA, epochs=1),
    "model is a Linear; it must be": lambda: VariationalDropout(nn.Linear(4, 3)),
    "guide is a MLP, a model; give its guide, such as": lambda: prune(MODEL),
    "guide is a Linear; it must be": lambda: prune(nn.Linear(4, 3)),
    "validation data is a Dataset, whose test data are never for choosing": lambda: fit(
        GUIDE, DATA, load_data("digits"), epochs=1
    ),
    "training data is a tuple of 3; it must be a pair of tensors": lambda: fit(GUIDE, (*DATA, 1), epochs=1),
    "inputs of type torch.float64, a network of torch.float32": lambda: fit(GUIDE, (DATA[0].double(), DATA[1]), epochs=1),
    "label 3 does not fit .* count from 0": lambda: fit(GUIDE, (DATA[0], DATA[1] + 1), **RUN),
    r"evaluate was given a MLP; it takes .* VariationalDropout\(model\)": lambda: evaluate(MODEL, DATA),
    "evaluate was given a tuple; it takes an ordinary network, or": lambda: evaluate((MODEL, 3), DATA),
    r"likelihood \(=.*\) must be None with a guide": lambda: evaluate(GUIDE, DATA, likelihood=Normal()),
    r"prior \(='normal-jeffreys'\) must map": lambda: BayesianNetwork(nn.Linear(4, 1), prior="normal-jeffreys"),
    r"likelihood \(='normal'\) must be an object": lambda: BayesianNetwork(nn.Linear(4, 1), "normal"),
    r"likelihood \(=<class .*Normal'>\) must be an object": lambda: BayesianNetwork(nn.Linear(4, 1), Normal),
    "net is a function; it must be a network, an nn.Module": lambda: BayesianNetwork(lambda x: x),
    r"outputs of shape \(9, 1\) are not of classes": lambda: predict(nn.Linear(4, 1), DATA[0]),
    r"net is a MLP; it must be an ordinary network": lambda: save_pruned(MODEL, "never.safetensors"),
    "net is a VariationalDropout; it must be an ordinary network": lambda: compact(GUIDE),
    "predict was given a MLP; it takes": lambda: predict(MODEL, DATA[0]),
    r"checkpoint \(='no/such/c.pt'\): there is no folder 'no/such'": lambda: fit(
        GUIDE, DATA, epochs=1, checkpoint="no/such/c.pt"
    ),
    r"log \(='no/log'\): there is no folder 'no'": lambda: MetricsLog(Path("no/log")),
    "computes its weight .*remove_weight_norm": lambda: BayesianNetwork(normed()),
    r"computes its weight .*prune\.remove": lambda: BayesianNetwork(torch_pruned()),
    "data: the network's output is a tuple; it must be one tensor": lambda: evaluate(Pair(4, 3), DATA),
    "training data: the network's output is a tuple": lambda: fit(pair_of(Pair(4, 3))[1], DATA, **RUN),
    "validation data: 9 inputs and 8 labels": lambda: choose_threshold(GUIDE, (DATA[0], DATA[1][1:])),
    "validation data is a Tensor; it must be a pair of tensors": lambda: choose_threshold(GUIDE, DATA[0]),
    r"'1.weight': its weight is of type float16.* VariationalDropout;.*autocast": lambda: VariationalDropout(
        MLP((4, 3)).half()
    ),
    "float16.* GaussianDropout;.*autocast": lambda: GaussianDropout(MLP((4, 3)).half(), 0.2),
    "float16.* GroupVariationalDropout;.*autocast": lambda: GroupVariationalDropout(
        BayesianNetwork(nn.Linear(4, 3).half(), prior=NormalJeffreys)
    ),
    "float16.* LogNormalDropout;.*autocast": lambda: LogNormalDropout(MLP((4, 3)).half()),
}


@pytest.mark.parametrize("message", WRONG, ids=range(len(WRONG)))
def test_mixed_up_arguments_are_named(message: str) -> None:
    with pytest.raises(InputError, match=message):
        WRONG[message]()


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
