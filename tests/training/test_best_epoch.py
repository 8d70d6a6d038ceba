"""A training ends when its validation score improves no more, and goes back to its best epoch, by that score alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import ANYTHING, EachStep, refuses
from torch import Tensor

from pyro_vd import KLWeight, VariationalDropout, evaluate, fit, posterior_mean
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.models import MLP
from pyro_vd.testing.interrupting import Interrupt
from pyro_vd.training import Callback, EarlyStopping, FitResult, TrainingState
from pyro_vd.workflow.recipe_files import parse_recipe

X = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, :3] + torch.randn(60, 3, generator=torch.Generator().manual_seed(1))).argmax(1)
TRAIN, HELD_OUT = (X[:20], Y[:20]), (X[20:], Y[20:])
EPOCHS = 12
State = dict[str, Tensor]


def values(guide: VariationalDropout) -> State:
    named = {**dict(guide.named_parameters()), **dict(guide.model.named_parameters())}
    return {name: parameter.detach().clone() for name, parameter in named.items()}


class Every(Callback):
    """Keeps the parameters after every epoch."""

    def __init__(self) -> None:
        self.seen: list[State] = []

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        self.seen.append(values(state.guide))


def train(seed: int = 1, callbacks: Any = (), **options: Any) -> tuple[VariationalDropout, FitResult]:
    """At a rate so high that scores go up and down."""
    torch.manual_seed(seed)
    guide = VariationalDropout(MLP((4, 8, 3)))
    settings = {"epochs": EPOCHS, "batch_size": 10, "lr": 0.4, "progress": False, "validation": HELD_OUT, **options}
    return guide, fit(guide, TRAIN, callbacks=callbacks, **settings)


def equal(one: State, other: State) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def scores_of(result: FitResult) -> list[float]:
    return [record.score for record in result.history if record.score is not None]


@pytest.mark.parametrize("warmup", [0.0, 6.5])
def test_the_best_epoch_is_restored(warmup: float) -> None:
    every = Every()
    kl_weight = KLWeight(0.1, end=warmup)
    guide, result = train(callbacks=[every], restore_best=True, kl_weight=kl_weight)
    scores = scores_of(result)
    first = round(warmup + 0.5)  # epochs that end with the full weight
    assert len(scores) == EPOCHS
    best = max(epoch for epoch, score in enumerate(scores, 1) if epoch >= first and score == min(scores[max(0, first - 1) :]))
    assert 1 < result.epoch == best < EPOCHS
    assert equal(values(guide), every.seen[best - 1])
    assert evaluate(posterior_mean(guide), HELD_OUT).score.value == pytest.approx(scores[best - 1], abs=0.1)
    last, plain = train(kl_weight=kl_weight)
    assert plain.epoch == EPOCHS
    assert equal(values(last), every.seen[-1]), "the training itself is the same"


@pytest.mark.parametrize("stop", [2, 5, 10])
def test_a_resumed_training_ends_with_the_same_best_epoch(tmp_path: Path, stop: int) -> None:
    options: dict[str, Any] = {"restore_best": True, "kl_weight": 0.1}
    whole, result = train(**options)
    files: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "resume": True}
    with pytest.raises(KeyboardInterrupt):
        train(callbacks=[Interrupt(stop)], **options, **files)
    for _ in range(2):  # the second time it is complete
        resumed, again = train(seed=2, **options, **files)
        assert again.epoch == result.epoch
        assert equal(values(whole), values(resumed))


def test_an_interrupted_training_stays_where_it_is() -> None:
    every = Every()
    torch.manual_seed(1)
    guide = VariationalDropout(MLP((4, 8, 3)))
    options: dict[str, Any] = {"batch_size": 10, "lr": 0.4, "kl_weight": 0.1, "restore_best": True, "progress": False}

    def stop(state: TrainingState) -> None:
        if state.now > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(guide, TRAIN, HELD_OUT, epochs=EPOCHS, **options, callbacks=[every, EachStep(stop)])
    assert not any(equal(values(guide), seen) for seen in every.seen)


def waited(scores: list[float], patience: int, min_delta: float) -> int:
    """The epoch after which such a history ends, as one would say it."""
    for epoch in range(patience + 1, len(scores) + 1):
        before, since = scores[: epoch - patience], scores[epoch - patience : epoch]
        best = before[0]
        for score in before[1:]:
            best = score if best - score >= min_delta and score < best else best
        if not any(score < best and best - score >= min_delta for score in since):
            return epoch
    return len(scores)


@pytest.mark.parametrize(("patience", "min_delta"), [(1, 0.0), (2, 0.0), (3, 0.02), (2, 0.2), (11, 0.0), (50, 0.0)])
def test_it_ends_when_the_score_improves_no_more(patience: int, min_delta: float) -> None:
    scores = scores_of(train(kl_weight=0.1)[1])
    _, result = train(kl_weight=0.1, callbacks=[EarlyStopping(patience, min_delta)])
    assert len(result.history) == waited(scores, patience, min_delta)
    assert scores_of(result) == scores[: len(result.history)]


def test_the_warm_up_does_not_count() -> None:
    _, result = train(kl_weight=KLWeight(0.1, end=9), callbacks=[EarlyStopping(1)])
    assert len(result.history) >= 10


def test_a_training_that_was_stopped_stays_stopped(tmp_path: Path) -> None:
    files: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "resume": True, "kl_weight": 0.1, "restore_best": True}
    whole, result = train(callbacks=[EarlyStopping(2)], **files)
    assert len(result.history) < EPOCHS
    again, resumed = train(seed=2, callbacks=[EarlyStopping(2)], **files)
    assert len(resumed.history) == len(result.history)
    assert equal(values(whole), values(again))
    _, longer = train(seed=2, callbacks=[EarlyStopping(5)], **files)
    assert len(longer.history) > len(result.history), "more patience goes on"


def test_an_own_callback_stops() -> None:
    class Stop(Callback):
        def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
            if record.epoch == 3:
                state.stop()

    assert len(train(callbacks=[Stop()])[1].history) == 3


@pytest.mark.parametrize("what", ["EarlyStopping", "restore_best"])
def test_without_scores_it_is_refused(what: str) -> None:
    options: dict[str, Any] = {"restore_best": True} if what == "restore_best" else {"callbacks": [EarlyStopping(2)]}
    with refuses(what, ANYTHING, "validation"):
        train(**options, validation=None)
    with refuses(what, 13.0, "warm-up", EPOCHS):
        train(**options, kl_weight=KLWeight(end=13))


def test_in_a_recipe() -> None:
    recipe = parse_recipe({"data": {"validation": 100}, "train": {"restore_best": True}})
    assert recipe.train.fit_options()["restore_best"] is True
    with refuses("train.restore_best", True, "data.validation"):
        parse_recipe({"data": {"validation": 0}, "train": {"restore_best": True}})
