"""A part of a network's output, for the likelihood."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyro.distributions as dist
import pytest
import torch
from support import refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, evaluate, fit, predict
from pyro_vd.evaluation import Selected
from pyro_vd.evaluation.memory import PeakBytes
from pyro_vd.evaluation.predictors import outputs
from pyro_vd.evaluation.selection import joined, of_part, part_of
from pyro_vd.guides import PointEstimate
from pyro_vd.models import Normal
from pyro_vd.models.likelihood_files import describe, likelihood_of
from pyro_vd.testing.interrupting import Interrupt

X, Y = torch.arange(12.0).reshape(4, 3), torch.arange(4) % 3


class Named(NamedTuple):
    hidden: Tensor
    logits: Tensor


@dataclass
class Typed:
    hidden: Tensor
    logits: Tensor


@pytest.mark.parametrize(
    ("chosen", "output"),
    [
        ("logits", {"hidden": X + 1, "logits": X}),
        (1, {"hidden": X + 1, "logits": X}),
        (1, (X + 1, X)),
        (-1, [X + 1, X]),
        ("logits", Named(X + 1, X)),
        (1, Named(X + 1, X)),
        ("logits", Typed(X + 1, X)),
        (lambda output: output.logits, Typed(X + 1, X)),
        (lambda output: output, X),
    ],
)
def test_a_part_is_taken_from_every_form(chosen: Any, output: Any) -> None:
    likelihood = Selected(chosen)
    assert likelihood.select(output) is X
    assert part_of(likelihood, output) is X
    torch.testing.assert_close(likelihood(output).logits, X.log_softmax(-1))


@pytest.mark.parametrize(
    ("chosen", "output", "listed"),
    [
        ("logit", {"hidden": X, "logits": X}, "'hidden', 'logits'"),
        ("logits", (X, X), "0, 1"),
        (2, (X, X), "0, 1"),
        ("logit", Named(X, X), "'hidden', 'logits'"),
        ("shape", Typed(X, X), "'hidden', 'logits'"),
        ("shape", X, "a Tensor"),
        (0, X, "a Tensor"),
        ("logits", None, "NoneType"),
    ],
)
def test_a_part_that_is_not_there(chosen: str | int, output: Any, listed: str) -> None:
    with refuses("output", chosen, listed):
        Selected(chosen).select(output)


@pytest.mark.parametrize("chosen", [True, 1.5, None, ("a", "b")])
def test_what_selects_nothing(chosen: Any) -> None:
    with refuses("output", chosen, "key"):
        Selected(chosen)


def test_parts_of_parts() -> None:
    inner = Normal(2.0)
    likelihood = Selected("heads", Selected(1, inner))
    assert part_of(likelihood, {"heads": (X, Y)}) is Y
    assert of_part(likelihood) is inner
    assert [name for name, _ in likelihood.named_buffers()] == ["likelihood.likelihood.log_scale"]


class Talkative(nn.Module):
    """Gives what the models of Hugging Face give: logits, all hidden states, an absent and a scalar loss, a cache."""

    def __init__(self, width: int = 4000) -> None:
        super().__init__()
        self.linear, self.width = nn.Linear(3, 3), width

    def forward(self, x: Tensor) -> dict[str, Any]:
        hidden = tuple(x.sum(-1, keepdim=True).expand(-1, self.width) + k for k in range(3))
        return {"logits": self.linear(x), "hidden": hidden, "loss": None, "mean": x.mean(), "cache": object()}


def test_outputs_of_many_batches_are_joined_in_their_form() -> None:
    net, x = Talkative(), torch.randn(1000, 3)
    found = outputs(net, x)
    assert {key: found[key] for key in ("loss", "mean", "cache")} == {"loss": None, "mean": None, "cache": None}
    torch.testing.assert_close(found["logits"], net.linear(x))
    assert [tuple(each.shape) for each in found["hidden"]] == [(1000, 4000)] * 3
    torch.testing.assert_close(found["hidden"][2][:, 7], x.sum(-1) + 2)


def test_only_the_part_is_kept_of_every_batch() -> None:
    net, x = Talkative(), torch.randn(5000, 3)
    with PeakBytes() as measured:
        found = outputs(net, x, Selected("logits"))
    torch.testing.assert_close(found, net.linear(x))
    hidden = 5000 * 4000 * 4
    assert measured.peak < 1.5 * 16 * 2**20 < hidden


def test_examples_that_are_missing_are_not_joined() -> None:
    parts = [{"a": X, "b": X[:2]}, {"a": X[:1], "b": X}]
    assert joined(parts, [4, 1])["b"] is None
    assert torch.equal(joined(parts, [4, 1])["a"], torch.cat([X, X[:1]]))


@pytest.mark.parametrize("use", [lambda net: evaluate(net, (X, Y)), lambda net: predict(net, X)])
def test_an_output_that_is_no_tensor_names_its_parts(use: Callable[[nn.Module], object]) -> None:
    with refuses("output", "dict", "'logits', 'hidden', 'loss', 'mean', 'cache'", "output='logits'", "=model.likelihood"):
        use(Talkative(2))


def test_a_function_as_the_likelihood_of_a_part() -> None:
    def labels(output: Tensor) -> dist.TorchDistribution:
        return dist.Categorical(logits=output)

    model = BayesianNetwork(Talkative(2), labels, output="logits")
    assert isinstance(model.observed, Selected)
    assert of_part(model.observed) is labels
    model.likelihood = Selected("logits", lambda output: labels(output + 1))
    assert of_part(model.observed) is None, "a function that is set later may use what the model draws"
    record = fit(PointEstimate(model), (X, Y), (X, Y), epochs=1, progress=False).history[0]
    assert record.score_name == "error"


def test_parameters_of_the_inner_likelihood_are_trained_in_place() -> None:
    normal = Normal()
    model = BayesianNetwork(Talkative(2), normal, output="logits")
    fit(PointEstimate(model), (X, X), epochs=1, lr=0.1, progress=False)
    assert normal.scale != 1


def test_the_selector_identifies_a_training(tmp_path: Path) -> None:
    def train(output: Any, epochs: int) -> int:
        guide = PointEstimate(BayesianNetwork(Talkative(3), output=output))
        options: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "resume": True, "progress": False}
        return len(fit(copy.deepcopy(guide), (X, Y), epochs=3, callbacks=[Interrupt(epochs)], **options).history)

    def logits(output: dict[str, Any]) -> Tensor:
        return output["logits"]

    def doubled(output: dict[str, Any]) -> Tensor:
        return 2 * output["logits"]

    for chosen in ("logits", logits):
        (tmp_path / "c.pt").unlink(missing_ok=True)
        with pytest.raises(KeyboardInterrupt):
            train(chosen, 1)
        assert train(chosen, 9) == 3
        with refuses(str(tmp_path / "c.pt")):
            train(doubled, 9)


def test_classes_are_observed_through_a_selector_given_as_the_likelihood() -> None:
    model = BayesianNetwork(Talkative(2), Selected("logits"))
    assert fit(PointEstimate(model), (X, Y), epochs=1, progress=False).skipped == 0


@pytest.mark.parametrize("made", [Selected("logits"), Selected(1, Normal(0.5)), Selected("logits", Normal(0.5))])
def test_a_file_says_which_part(made: Selected) -> None:
    read = likelihood_of(json.loads(json.dumps(describe(made))))
    assert isinstance(read, Selected)
    assert read.output == made.output
    assert describe(read) == describe(made)


def test_a_file_cannot_hold_a_function() -> None:
    with refuses("output", len, "key"):
        describe(Selected(len))
