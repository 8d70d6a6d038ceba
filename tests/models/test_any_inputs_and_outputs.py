"""Networks with several inputs, keywords, integers, and outputs of any form, through everything that a user calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import pyro.optim
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import SVI, Predictive
from pyro.infer.autoguide import AutoNormal
from support import refuses
from torch import Tensor, nn
from zoo import specimens

from pyro_vd import (
    BayesianNetwork,
    VariationalDropout,
    choose_threshold,
    evaluate,
    fine_tune,
    fit,
    predict,
    prune,
    to_inference_data,
)
from pyro_vd.evaluation import memory
from pyro_vd.evaluation.predictors import outputs
from pyro_vd.inference import VariationalDropoutELBO
from pyro_vd.networks.flops import network_cost
from pyro_vd.networks.inputs import named_tensors, rows, run
from pyro_vd.posterior.summary import predictive, site_kl

N, CLASSES = 40, 5


class Both(nn.Module):
    """Numbers and a category, in two positional arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.linear = nn.Embedding(7, 3), nn.Linear(7, CLASSES)

    def forward(self, numbers: Tensor, category: Tensor) -> Tensor:
        return self.linear(torch.cat([numbers, self.embedding(category)], -1))


class Keywords(nn.Module):
    """Two inputs and a flag, by keyword only; gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.both = Both()

    def forward(self, *, category: Tensor, numbers: Tensor, negative: bool = False) -> tuple[Tensor, Tensor]:
        logits = self.both(numbers, category)
        return logits.mean(0), -logits if negative else logits


class Answer(NamedTuple):
    hidden: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Typed:
    logits: Tensor
    hidden: list[Tensor]
    loss: Tensor | None = None


class Nested(nn.Module):
    """A dictionary as the one argument; the form of the output is given."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.both, self.form = Both(), form

    def forward(self, batch: dict[str, Tensor]) -> Any:
        return self.form(batch["numbers"], self.both(batch["numbers"], batch["category"]))


def numbers() -> Tensor:
    return torch.randn(N, 4)


def category() -> Tensor:
    return torch.randint(7, (N,))


def labels() -> Tensor:
    return torch.randint(CLASSES, (N,))


def keywords() -> dict[str, Any]:
    return {"category": category(), "numbers": numbers(), "negative": True}


def nested() -> tuple[dict[str, Tensor]]:
    return ({"numbers": numbers(), "category": category()},)


class Bytes(nn.Module):
    """Pixels of 8 bits, which the network scales itself."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, CLASSES)

    def forward(self, pixels: Tensor) -> Tensor:
        assert pixels.dtype == torch.uint8
        return self.linear(pixels.flatten(1) / 255)


@dataclass(frozen=True)
class Case:
    make: Callable[[], nn.Module]
    data: Callable[[], tuple[Any, Tensor]]
    output: Any = None
    logits: Callable[[Any], Tensor] = lambda output: output
    """The logits of a network's whole output, without the library."""


def of_zoo(name: str, output: Any = "logits", last: bool = False) -> Case:
    (specimen,) = specimens(name)

    def data() -> tuple[Any, Tensor]:
        from transformers import BatchEncoding

        x, y = specimen.seeded_batch(N)
        return BatchEncoding(x), y[:, -1] if last else y

    return Case(specimen.seeded, data, output, last_logits if last else lambda output: output.logits)


def last_logits(output: Any) -> Tensor:
    return output.logits[:, -1]


CASES = {
    "two inputs": Case(Both, lambda: ((numbers(), category()), labels())),
    "keywords, tuple": Case(Keywords, lambda: (keywords(), labels()), 1, lambda output: output[1]),
    "dict, dict": Case(
        lambda: Nested(lambda hidden, logits: {"hidden": hidden, "logits": logits, "loss": None}),
        lambda: (nested(), labels()),
        "logits",
        lambda output: output["logits"],
    ),
    "dict, named tuple": Case(lambda: Nested(Answer), lambda: (nested(), labels()), "logits", lambda output: output.logits),
    "dict, dataclass": Case(
        lambda: Nested(lambda hidden, logits: Typed(logits, [hidden])),
        lambda: (nested(), labels()),
        "logits",
        lambda output: output.logits,
    ),
    "token ids": Case(
        lambda: nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(12, CLASSES)),
        lambda: (torch.randint(7, (N, 4)), labels()),
    ),
    "arrays of bytes": Case(Bytes, lambda: (torch.randint(256, (N, 2, 3)).to(torch.uint8).numpy(), labels().numpy())),
    "BERT": of_zoo("Hugging Face BERT"),
    "GPT-2": of_zoo("Hugging Face GPT-2", last_logits, last=True),
    "ViT": of_zoo("Hugging Face ViT"),
}


@pytest.mark.parametrize("name", CASES)
def test_every_public_function(name: str) -> None:
    case = CASES[name]
    torch.manual_seed(0)
    net, (x, y) = case.make(), case.data()
    model = BayesianNetwork(net, output=case.output)
    guide = VariationalDropout(model)
    loss = VariationalDropoutELBO()(model, guide)
    before = {key: value.clone() for key, value in loss.state_dict().items()}
    result = fit(guide, (x, y), (x, y), epochs=2, batch_size=16, progress=False)
    assert result.skipped == 0
    assert result.history[1].kl < result.history[0].kl
    assert not any(torch.equal(before[key], value) for key, value in loss.named_parameters())
    rule = choose_threshold(guide, (x, y), 1.0)
    plain = prune(guide, rule)
    assert type(plain) is type(net)
    with torch.no_grad():
        tensors = x if not hasattr(x, "dtype") else torch.as_tensor(x)
        wanted = case.logits(run(plain.eval(), tensors))
        assert loss(tensors, torch.as_tensor(y).long()).isfinite()
    likelihood = model.likelihood
    found = predict(plain, x, likelihood=likelihood)
    torch.testing.assert_close(found.log_p, wanted.double().log_softmax(-1))
    error = (wanted.argmax(-1) != torch.as_tensor(y)).double().mean().item()
    assert evaluate(plain, (x, y), likelihood=likelihood).error == error
    assert evaluate(guide, (x, y), num_samples=2).deployed is not None
    assert predict(guide, x, num_samples=2).log_p.shape == wanted.shape
    assert predictive(guide, x, 2).dtype == torch.float32
    assert site_kl(guide, (tensors, torch.as_tensor(y).long())).keys() == set(model.weight_names)
    tuned = fine_tune(plain, (x, y), likelihood=likelihood, epochs=1, progress=False)
    assert len(tuned.history) == 1
    arviz = to_inference_data(guide, (x, y), num_samples=2)
    assert arviz["posterior_predictive"]["y_probability"].shape == (1, 2, *wanted.shape)
    for part, tensor in named_tensors(tensors):
        kept = arviz["constant_data"][f"x_{part}" if part else "x"]
        assert kept.dtype == tensor.numpy().dtype
        assert kept.shape == tensor.shape
    assert network_cost(plain, rows(tensors, slice(1))).flops > 0


def test_pyro_s_own_tools_take_them() -> None:
    torch.manual_seed(0)
    x, y = keywords(), labels()
    model = BayesianNetwork(Keywords(), output=1)
    guide = VariationalDropout(model)
    with pyro.get_param_store().scope():
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), VariationalDropoutELBO())
        assert math.isfinite(svi.step(x, y))
        assert Predictive(model, guide=guide, num_samples=3)(x)["y"].shape == (3, N)


def test_inside_a_larger_model() -> None:
    """Every example has a latent shift, and the whole output comes out of ``sample_output``."""
    torch.manual_seed(0)

    class Shifted(BayesianNetwork):
        def forward(self, x: Any, y: Tensor | None = None) -> None:
            _, logits = self.sample_output(x)
            with pyro.plate("data", len(x["category"])):
                shift = pyro.sample("shift", dist.Normal(logits.new_zeros(len(logits)), 1.0))
                pyro.sample("y", dist.Categorical(logits=logits + shift[:, None] * torch.arange(CLASSES)), obs=y)

    data = keywords(), labels()
    model = Shifted(Keywords(), output=1)
    guide = VariationalDropout(model)
    guide.append(AutoNormal(poutine.block(model, hide=guide.site_names)))
    assert fit(guide, data, epochs=2, batch_size=N, progress=False).skipped == 0
    assert predict(guide, data[0], num_samples=3).log_p.shape == (N, CLASSES)
    with refuses("x, category"):
        predict(guide, {**data[0], "category": [[1], [1, 2]]})


def test_few_examples_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net, x = Keywords(), keywords()
    guide = VariationalDropout(BayesianNetwork(net, output=1), log_sigma2=-2.0)
    sizes: list[int] = []
    net_hook = guide.model.net.register_forward_pre_hook(
        lambda _, args, kwargs: sizes.append(len(kwargs["category"])), with_kwargs=True
    )
    found = []
    for most in (memory.BYTES_ON_CPU, 1000):
        monkeypatch.setattr(memory, "BYTES_ON_CPU", most)
        torch.manual_seed(1)
        found.append((predict(guide, x, num_samples=3).log_p, outputs(net, x, guide.model.likelihood)))
    net_hook.remove()
    assert set(sizes) & set(range(3, N)), "some batches are a part of all examples"
    torch.testing.assert_close(found[0], found[1])
    assert found[0][1].shape == (N, CLASSES)


def test_tokens_of_sequences() -> None:
    """Outputs ``(n, t, classes)`` and labels ``(n, t)`` through every public function."""
    torch.manual_seed(0)
    (specimen,) = specimens("Hugging Face GPT-2")
    net, (x, y) = specimen.seeded(), specimen.seeded_batch(N)
    model = BayesianNetwork(net, output="logits")
    guide = VariationalDropout(model)
    assert fit(guide, (x, y), (x, y), epochs=2, batch_size=16, progress=False).skipped == 0
    plain = prune(guide, choose_threshold(guide, (x, y), 1.0))
    with torch.no_grad():
        logits = plain.eval()(**x).logits
    torch.testing.assert_close(predict(plain, x, likelihood=model.likelihood).log_p, logits.double().log_softmax(-1))
    error = (logits.argmax(-1) != y).double().mean().item()
    assert evaluate(plain, (x, y), likelihood=model.likelihood).score.value == pytest.approx(error)
    assert 0 < evaluate(guide, (x, y), num_samples=2).score.value <= 1
    assert predict(guide, x, num_samples=2).log_p.shape == (*y.shape, logits.shape[-1])
    assert to_inference_data(guide, (x, y), num_samples=2)["observed_data"]["y"].shape == y.shape
    assert len(fine_tune(plain, (x, y), likelihood=model.likelihood, epochs=1, progress=False).history) == 1
