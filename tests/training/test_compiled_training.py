"""``compile=True`` trains as without it, up to rounding: shapes, checkpoints, shrinking, and machines without a compiler."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import shrinking_support
import torch
from process_support import group_of
from support import refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, KLWeight, VariationalDropout, VariationalDropoutELBO, fit
from pyro_vd.inference.compiled_step import CompiledStep
from pyro_vd.testing.interrupting import Interrupt
from pyro_vd.training import Callback, FitResult, TrainingState
from pyro_vd.workflow import train_run
from pyro_vd.workflow.recipe_files import parse_recipe

N = 44
X = torch.randn(N, 2, 6, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0, 0, :3] + 0.3 * torch.randn(N, 3, generator=torch.Generator().manual_seed(1))).argmax(1)


def trained(**options: Any) -> tuple[VariationalDropout, FitResult]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, groups=2, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    guide = VariationalDropout(BayesianNetwork(net), log_sigma2=-4.0)
    settings = {"epochs": 4, "batch_size": 10, "lr": 0.01, "kl_weight": KLWeight(end=3), "progress": False, **options}
    return guide, fit(guide, (X, Y), **settings)


def state_of(guide: VariationalDropout) -> dict[str, Tensor]:
    return {**guide.state_dict(), **guide.model.state_dict()}


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_compiled_training_is_the_training(device: str, tmp_path: Path) -> None:
    """The last batch of an epoch is smaller, its step uncompiled; a resumed training is bit for bit the compiled one."""
    plain, of_plain = trained(device=device)
    compiled, of_compiled = trained(compile=True, device=device)
    assert of_plain.compile_seconds == ()
    assert len(of_compiled.compile_seconds) == 1
    wanted, found = state_of(plain), state_of(compiled)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)
    assert not all(torch.equal(found[name], value) for name, value in wanted.items()), "it is other code"
    for one, other in zip(of_compiled.history, of_plain.history, strict=True):
        assert (one.loss, one.data_term, one.kl) == pytest.approx((other.loss, other.data_term, other.kl), rel=1e-4)
    files: dict[str, Any] = {"checkpoint": tmp_path / "checkpoint.pt", "resume": True, "device": device}
    with pytest.raises(KeyboardInterrupt):
        trained(compile=True, callbacks=[Interrupt(2)], **files)
    resumed, _ = trained(compile=True, **files)
    tolerance = {"rtol": 0.0, "atol": 0.0} if device == "cpu" else {"rtol": 1e-3, "atol": 1e-4}
    torch.testing.assert_close(state_of(resumed), state_of(compiled), **tolerance)


@pytest.mark.slow
def test_the_step_is_compiled_again_for_a_smaller_network() -> None:
    """To where it is made smaller the training is the same but for rounding, and it goes on so."""
    results = []
    for compiles in (False, True):
        seconds = Seconds()
        guide, _, watch = shrinking_support.trained(
            shrinking_support.dense, shrinking_support.variational, [seconds], compile=compiles
        )
        assert watch.state.shrinking is not None
        assert len(watch.state.shrinking.plans) == 1
        results.append((list(guide.parameters()), watch.weights, len(seconds.found)))
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-3, atol=1e-4)
    assert results[1][1] == results[0][1]
    assert [result[2] for result in results] == [0, 2]


def trained_on(rank: int, **options: Any) -> list[Tensor]:
    return list(state_of(trained(epochs=1, **options)[0]).values())


@pytest.mark.slow
@pytest.mark.long
def test_several_processes_train_as_they_do_uncompiled() -> None:
    with group_of(2) as group:
        plain, compiled = (group.call(trained_on, compile=compiles, batch_size=20) for compiles in (False, True))
    torch.testing.assert_close(compiled[0], plain[0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(compiled[0], compiled[1], rtol=0, atol=0)


@pytest.mark.slow
def test_most_batches_of_other_shapes_are_told(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    guide = VariationalDropout(BayesianNetwork(nn.Linear(4, 3)))
    batches = [(torch.randn(n, 4), torch.arange(n) % 3) for n in (6, 5, 4, 6)]
    fit(guide, batches, epochs=2, num_examples=21, compile=True, progress=False)
    assert not warnings_of(caplog), "half of them are not most"
    fit(guide, [*batches, batches[1]], epochs=2, num_examples=26, compile=True, progress=False)
    assert ["3 of 5" in message for message in warnings_of(caplog)] == [True]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record for record in caplog.records if record.name.startswith("pyro_vd") and record.levelno >= logging.WARNING]
    return [record.getMessage() for record in found]


class Seconds(Callback):
    """Keeps how long each compilation took."""

    def on_end(self, state: TrainingState) -> None:
        self.found = list(state.compile_seconds)


class Score(dist.Normal):
    """log p(y) = ½ output² + a constant."""

    def log_prob(self, value: Tensor) -> Tensor:
        return 0.5 * self.loc.square() + 0 * value


@pytest.mark.slow
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_every_compiled_step_draws_its_own_noise(device: str) -> None:
    """A layer with θ = 0 has outputs of N(0, Σ x² σ²); the data term tells their mean square."""
    examples, steps, variance = 400, 25, math.exp(-2.0) * 5
    net = nn.Linear(5, 1, bias=False)
    nn.init.zeros_(net.weight)
    model = BayesianNetwork(net, lambda output: Score(output[:, 0], 1.0)).train().to(device)
    guide = VariationalDropout(model, log_sigma2=-2.0)
    x, y = torch.ones(examples, 5, device=device), torch.zeros(examples, device=device)
    elbo = VariationalDropoutELBO()
    elbo.try_out(model, guide, x, y)
    compiled = CompiledStep(elbo, model, guide, x, y)
    torch.manual_seed(0)
    squares = []
    for _ in range(steps):
        compiled.backward(x, y)
        squares.append(-2 * elbo.data_term.item() / examples)
    assert len(set(squares)) == steps
    mean = sum(squares) / steps
    assert abs(mean / variance - 1) < 4 * math.sqrt(2 / (examples * steps))
    assert guide.site("weight").log_sigma2.grad is not None


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder

    cpp_builder.cpp_compiler_search.cache_clear()
    monkeypatch.setenv("PATH", "")
    with refuses("compile", True, "C++", "g++", "compile=False"):
        trained(compile=True)
    cpp_builder.cpp_compiler_search.cache_clear()


def test_hooks_of_parameters_are_refused() -> None:
    model = BayesianNetwork(nn.Linear(4, 3)).train()
    guide = VariationalDropout(model)
    guide.site("weight").theta.register_hook(lambda gradient: gradient)
    with refuses("compile", True, "sites.weight.theta"):
        CompiledStep(VariationalDropoutELBO(), model, guide, torch.ones(2, 4), torch.zeros(2, dtype=torch.long))


def test_a_run_without_a_compiler_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor import cpp_builder

    cpp_builder.cpp_compiler_search.cache_clear()
    monkeypatch.setenv("PATH", "")
    with refuses("train.compile", True, "C++"):
        train_run(parse_recipe({"train": {"compile": True}}), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


class Counted(nn.Linear):
    """A layer that counts its calls, which compiled code would not do."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)


def test_a_network_that_cannot_be_compiled_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    guide = VariationalDropout(BayesianNetwork(nn.Sequential(nn.BatchNorm1d(4), Counted(4, 3))))
    guide.model.net[1].calls = 5
    before = {name: value.clone() for name, value in state_of(guide).items()}
    had = guide.train_threshold, guide.model.num_data
    with refuses("compile", True, "'1.calls'"):
        fit(guide, (torch.randn(12, 4), torch.arange(12) % 3), epochs=2, compile=True, train_threshold=2.0, progress=False)
    assert (guide.train_threshold, guide.model.num_data) == had
    assert guide.model.net[1].calls == 5
    torch.testing.assert_close(state_of(guide), before, rtol=0, atol=0)
