"""Data that come in batches are measured as the same data in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loader_support import Again, N, Named, Net, Pairs, Stream, X, Y, loader, mapped, net_of, trained
from support import ANYTHING, refuses
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from pyro_vd import (
    BayesianNetwork,
    VariationalDropout,
    choose_threshold,
    evaluate,
    fine_tune,
    fit,
    predict,
    to_inference_data,
)
from pyro_vd.data import ExampleBatches, LoaderBatches, TensorBatches
from pyro_vd.evaluation.gathering import gathered
from pyro_vd.models import Categorical, Heads, Normal

BATCHED: dict[str, Callable[[], Any]] = {
    "loader": loader,
    "workers": lambda: loader(Pairs(), num_workers=1),
    "examples": Pairs,
    "named": Named,
    "ExampleBatches": lambda: ExampleBatches(Pairs(), 5),
    "stream": Stream,
    "batches": Again,
    "LoaderBatches": lambda: LoaderBatches(Again()),
    "TensorBatches": lambda: TensorBatches(X, Y, 8),
    "whole": lambda: loader(batch_size=N),
}


def guide_of(net: nn.Module | None = None, likelihood: Any = None) -> VariationalDropout:
    torch.manual_seed(1)
    model = BayesianNetwork(Net() if net is None else net, likelihood)
    return VariationalDropout(model, log_sigma2=-2.0)


def same(found: Any, expected: Any) -> None:
    for field in fields(expected):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, float):
            assert one == pytest.approx(other, rel=1e-5), field.name
        elif field.name == "heads":
            for head in other:
                same(one[head], other[head])
        elif field.name != "deployed":
            assert one == other, field.name


def seeded(function: Callable[[], Any]) -> Any:
    torch.manual_seed(5)
    return function()


@pytest.mark.slow
@pytest.mark.parametrize("form", BATCHED)
def test_the_same_numbers(form: str) -> None:
    guide, net = guide_of(), net_of()
    for each in (guide, net):
        same(seeded(lambda each=each: evaluate(each, BATCHED[form]())), seeded(lambda each=each: evaluate(each, (X, Y))))
        found, expected = (seeded(lambda data=data, each=each: predict(each, data)) for data in (BATCHED[form](), X))
        assert torch.allclose(found.log_p, expected.log_p, atol=1e-5)
        if each is guide:
            assert torch.allclose(found.mutual_information, expected.mutual_information, atol=1e-5)
    found, expected = choose_threshold(guide, BATCHED[form](), 1.0), choose_threshold(guide, (X, Y), 1.0)
    assert found.threshold == expected.threshold
    assert [trial.error for trial in found.trials] == pytest.approx([trial.error for trial in expected.trials])


def test_in_a_training_and_a_fine_tuning() -> None:
    def scores(validation: Any) -> list[float]:
        return [score for item in trained((X, Y), validation=validation) if isinstance(item, tuple) for score in item[1:]]

    expected = scores((X, Y))
    for data in (loader(), Pairs(), Again(), Stream()):
        assert scores(data) == pytest.approx(expected)
    nets = [net_of(), net_of()]
    for net, data in zip(nets, (Pairs(), (X, Y)), strict=True):
        torch.manual_seed(0)
        fine_tune(net, data, data, epochs=2, batch_size=8, progress=False)
    assert torch.equal(nets[0].linear.weight, nets[1].linear.weight)


def test_scores_of_numbers_and_of_heads() -> None:
    y = torch.linspace(0, 1, N)
    heads = {"label": Y, "age": y}

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 1)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"label": self.a(x), "age": self.b(x)}

    cases: list[tuple[nn.Module, Any, Any]] = [
        (nn.Linear(4, 1), Normal(), y),
        (Two(), Heads({"label": Categorical(), "age": Normal()}), heads),
    ]
    for net, likelihood, observed in cases:
        guide = guide_of(net, likelihood)
        batches = list(TensorBatches(X, observed, 8).epoch(torch.Generator().manual_seed(0)))
        whole, given = gathered("data", batches), LoaderBatches(batches)
        same(*(seeded(lambda guide=guide, data=data: evaluate(guide, data)) for data in (given, whole)))
        same(*(evaluate(net, data, likelihood=guide.model.likelihood) for data in (given, whole)))
        records = []
        for data in (given, whole):
            again = guide_of(net, copy.deepcopy(likelihood))
            records.append(fit(again, (X, observed), data, epochs=1, progress=False).history[0])
        assert records[0].score == pytest.approx(records[1].score, rel=1e-6)
        assert records[0].score_name == records[1].score_name
        found, expected = (seeded(lambda guide=guide, data=data: predict(guide, data)) for data in (given, whole[0]))
        number, wanted = (found, expected) if observed is y else (found["age"], expected["age"])
        for part in ("mean", "aleatoric", "epistemic"):
            assert torch.allclose(getattr(number, part), getattr(wanted, part), rtol=1e-5)
        assert torch.allclose(number.interval(0.9)[0], wanted.interval(0.9)[0], rtol=1e-4)


def test_texts_of_different_lengths() -> None:
    """Each token has a label; the longest text of a batch sets its length."""
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randint(7, (5, length), generator=generator), torch.randint(3, (5, length), generator=generator))
        for length in (4, 6)
    ]
    net = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 3))
    guide = guide_of(net)
    together = tuple(torch.cat([part[k].flatten() for part in batches])[:, None] for k in range(2))
    likelihood = guide.model.likelihood
    for each, options in ((net, {"likelihood": likelihood}), (guide, {})):
        data = LoaderBatches(batches), together
        found, expected = (seeded(lambda each=each, part=part, o=options: evaluate(each, part, **o)) for part in data)
        assert (found.error, found.nll) == pytest.approx((expected.error, expected.nll))
    with refuses(ANYTHING, (6, 3), "x, batch 2", "(4, 3)"):
        predict(net, LoaderBatches(batches), likelihood=likelihood)
    score = fit(guide_of(net), batches, LoaderBatches(batches), epochs=1, num_examples=10, progress=False).history[0].score
    assert score is not None


def test_as_arviz_data() -> None:
    pytest.importorskip("arviz")
    guide = guide_of()
    found, expected = (to_inference_data(guide, data, num_samples=3) for data in (loader(Pairs()), (X, Y)))
    for group, variable in (("log_likelihood", "y"), ("constant_data", "x"), ("observed_data", "y")):
        assert np.allclose(found[group][variable], expected[group][variable], atol=1e-5)


def test_a_memory_mapped_array(tmp_path: Path) -> None:
    x, net = mapped(tmp_path), net_of()
    same(evaluate(net, (x, Y)), evaluate(net, (X, Y)))
    assert torch.allclose(predict(net, x).log_p, predict(net, X).log_p)


def test_inputs_alone() -> None:
    net = net_of()
    expected = predict(net, X).log_p
    for data in (DataLoader(TensorDataset(X), 8), DataLoader(X, 8), DataLoader([{"x": x} for x in X], 8)):  # type: ignore[arg-type]
        assert torch.allclose(predict(net, data).log_p, expected)


def test_it_is_seeded_as_data_in_memory_and_loaders_draw_apart() -> None:
    guide = guide_of()
    first, second = (seeded(lambda d=d: predict(guide, d).log_p) for d in (loader(shuffle=True), loader(shuffle=True)))
    assert torch.equal(first, second)
    state = seeded(lambda: (evaluate(net_of(), loader(Pairs(), shuffle=True)), torch.get_rng_state())[1])
    assert torch.equal(state, seeded(lambda: (net_of(), torch.get_rng_state())[1]))


class Nothing:
    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Cut(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from list(zip(X, Y, strict=True))[:20]
        raise OSError("disk")


WRONG: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "nothing": (Nothing, ("there is no batch",)),
    "once": (lambda: iter(Again()), ("again",)),
    "disk": (lambda: loader(Cut()), ("batch 3", "disk")),
    "label": (lambda: [(X[:8], Y[:8]), (X[8:16], Y[8:16]), (X[:2], Y[:2] + 2)], ()),
    "key": (lambda: loader([{"x": x, "label": y} for x, y in zip(X, Y, strict=True)]), ("batch 1", "'x', 'label'")),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_measured_is_named(case: str) -> None:
    make, mentioned = WRONG[case]
    with refuses(ANYTHING, ANYTHING, *mentioned):
        evaluate(Net(), make())


def test_a_later_batch_is_named() -> None:
    batches = LoaderBatches([(X[:8], Y[:8]), (X[8:16], Y[8:16]), (X[:2], Y[:2] + 2)])
    for use in (lambda: evaluate(Net(), batches), lambda: choose_threshold(guide_of(), batches)):
        with refuses(ANYTHING, ANYTHING, "batch 3", "label 3"):
            use()
