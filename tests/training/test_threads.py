"""Pyro's handlers and parameter store are global: trainings in several threads go on as if each were alone."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pytest
import torch
from pyro.poutine.runtime import _PYRO_STACK
from support import EachStep
from torch import Tensor

from pyro_vd import InputError, VariationalDropout, compact, evaluate, fit, prune, to_inference_data
from pyro_vd.guides import PointEstimate
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models import MLP
from pyro_vd.posterior import predictive
from pyro_vd.posterior.arviz_files import to_tree

X = torch.randn(120, 8, generator=torch.Generator().manual_seed(1))
Y = X[:, :3].argmax(1)
Pair = tuple[MLP, WeightGuide]


def pair(seed: int, kind: type[WeightGuide], hidden: int = 6) -> Pair:
    torch.manual_seed(seed)
    model = MLP((8, hidden, 3))
    return model, kind(model)


def together(*works: Callable[[], Any]) -> list[Any]:
    """Results, or errors, of functions that start at one moment, each in a thread."""
    start, results = threading.Barrier(len(works)), [None] * len(works)

    def run(index: int, work: Callable[[], Any]) -> None:
        start.wait()
        try:
            results[index] = work()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=each) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def trained(given: Pair, epochs: int = 25) -> dict[str, Tensor]:
    model, guide = given
    fit(guide, (X, Y), epochs=epochs, batch_size=len(X), lr=0.05, kl_weight=0.05, progress=False)
    return {**model.state_dict(), **guide.state_dict()}


def test_trainings_without_noise_are_those_of_one_thread() -> None:
    pairs = [pair(seed, PointEstimate) for seed in range(3)]
    wanted = [trained(copy.deepcopy(given)) for given in pairs]
    store = pyro.param("kept", torch.tensor(2.0))
    for _ in range(2):
        again = copy.deepcopy(pairs)
        for found, expected in zip(together(*(partial(trained, given) for given in again)), wanted, strict=True):
            assert not isinstance(found, Exception), found
            for name, value in expected.items():  # the order of examples is drawn from the generator that all share
                torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)
    assert _PYRO_STACK == []
    assert set(pyro.get_param_store().keys()) == {"kept"}
    assert pyro.param("kept") is store


def seeded_draws(given: Pair) -> float:
    data = to_inference_data(given[1], (X, Y), num_samples=10, weights=0, seed=7)
    return to_tree(data)["log_likelihood"]["y"].values.sum().item()


def test_a_training_with_noise_is_left_alone_by_trainings_and_evaluations() -> None:
    first, second, done = pair(1, VariationalDropout), pair(2, VariationalDropout, hidden=9), pair(3, VariationalDropout, 7)
    trained(done, epochs=50)
    torch.manual_seed(5)
    nll = evaluate(done[1], (X, Y), num_samples=100).nll
    results = together(
        lambda: trained(first, epochs=50),
        lambda: trained(second, epochs=50),
        lambda: [evaluate(done[1], (X, Y), num_samples=100).nll for _ in range(5)],
        lambda: [predictive(done[1], X, num_samples=20).shape for _ in range(9)],
        lambda: [compact(prune(done[1])) for _ in range(20)],
        lambda: [seeded_draws(done) for _ in range(3)],
    )
    for result in results:
        assert not isinstance(result, Exception), result
    assert results[2] == pytest.approx([nll] * 5, rel=0.1)
    assert results[3] == [(120, 3)] * 9
    assert results[5] == [seeded_draws(done)] * 3, "seeded, whatever the other threads draw"
    for given in (first, second):
        assert evaluate(given[1], (X, Y)).error < 0.4
    assert _PYRO_STACK == []


def test_one_model_in_two_trainings_is_refused_and_the_first_goes_on() -> None:
    model, guide = pair(1, VariationalDropout)
    running = threading.Event()

    def first() -> Any:
        return fit(guide, (X, Y), epochs=60, progress=False, callbacks=[EachStep(lambda _: running.set())]).history

    def second() -> None:
        assert running.wait(60)
        fit(VariationalDropout(model), (X[:30], Y[:30]), epochs=1, progress=False)

    history, error = together(first, second)
    assert len(history) == 60
    assert isinstance(error, InputError)
    assert "MLP" in str(error)
    assert model.num_data == len(X), "not that of the training that was refused"
    fit(guide, (X, Y), epochs=1, progress=False)


def test_after_an_error_another_thread_can_go_on() -> None:
    class Broken(MLP):
        def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            raise RuntimeError("broken")

    model = Broken((8, 6, 3))
    error, found = together(
        lambda: fit(VariationalDropout(model), (X, Y), epochs=1, progress=False),
        lambda: trained(pair(1, VariationalDropout), epochs=5),
    )
    assert "broken" in str(error)
    assert isinstance(found, dict)
    assert _PYRO_STACK == []
