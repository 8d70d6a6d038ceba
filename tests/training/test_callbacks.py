"""Callbacks are called when they say, see the training as it is, and are ended whatever happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import refuses

from pyro_vd import VariationalDropout, fit
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.models import MLP
from pyro_vd.training import Callback, TrainingState

X, Y = torch.randn(25, 4, generator=torch.Generator().manual_seed(0)), torch.arange(25) % 3
STEPS = 3
Events = list[tuple[Any, ...]]


class Listener(Callback):
    """Writes down what it is told, and raises at one event."""

    def __init__(self, name: str, events: Events, fails: str = "") -> None:
        self.name, self.events, self.fails = name, events, fails

    def add(self, what: str, *seen: Any) -> None:
        self.events.append((self.name, what, *seen))
        if what == self.fails:
            raise RuntimeError(what)

    def on_start(self, state: TrainingState) -> None:
        self.add("start", state.epoch, state.step)

    def on_step(self, state: TrainingState) -> None:
        self.add("step", state.epoch, state.step, state.now)

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        assert state.history[-1] is record
        self.add("epoch", state.epoch, state.step)

    def on_end(self, state: TrainingState) -> None:
        self.add("end", state.epoch)


def train(callbacks: Any, **options: Any) -> VariationalDropout:
    torch.manual_seed(1)
    guide = VariationalDropout(MLP((4, 3)))
    fit(guide, (X, Y), **{"epochs": 2, "batch_size": 10, "lr": 0.05, "progress": False, **options}, callbacks=callbacks)
    return guide


def test_the_order_of_calls() -> None:
    events: Events = []
    train([Listener("a", events), Listener("b", events)])
    of_a = [event[1:] for event in events if event[0] == "a"]
    steps = [[("step", epoch, step, epoch + step / STEPS) for step in (1, 2, 3)] for epoch in (0, 1)]
    assert of_a == [("start", 0, 0), *steps[0], ("epoch", 1, 0), *steps[1], ("epoch", 2, 0), ("end", 2)]
    assert [event[0] for event in events] == ["a", "b"] * (len(of_a) - 1) + ["b", "a"]


@pytest.mark.parametrize("fails", ["step", "epoch"])
def test_an_error_of_one_ends_all(fails: str) -> None:
    events: Events = []
    with pytest.raises(RuntimeError, match=fails):
        train([Listener("a", events), Listener("b", events, fails), Listener("c", events)])
    assert [event[:2] for event in events[-3:]] == [("c", "end"), ("b", "end"), ("a", "end")]


def test_who_could_not_start_is_not_ended_and_the_model_is_as_before() -> None:
    events: Events = []
    model = MLP((4, 3))
    guide = VariationalDropout(model)
    with pytest.raises(RuntimeError, match="start"):
        fit(guide, (X, Y), epochs=1, callbacks=[Listener("a", events), Listener("b", events, "start")], progress=False)
    assert [event[:2] for event in events] == [("a", "start"), ("b", "start"), ("a", "end")]
    assert model.num_data is None


class Drawing(Callback):
    """Draws random numbers, which changes the training, and stops it where it is told to, before a checkpoint."""

    def __init__(self, stop: int = 0) -> None:
        self.stop, self.started = stop, -1

    def on_start(self, state: TrainingState) -> None:
        self.started = state.epoch

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        torch.rand(3)
        if record.epoch == self.stop:
            raise KeyboardInterrupt


def test_a_training_with_a_callback_that_draws_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    files: dict[str, Any] = {"epochs": 4, "checkpoint": tmp_path / "c.pt", "resume": True}
    whole = train([Drawing()], epochs=4)
    with pytest.raises(KeyboardInterrupt):
        train([Drawing(3)], **files)
    again = Drawing()
    resumed = train([again], **files)
    assert again.started == 2, "the third epoch has no checkpoint"
    pairs = zip(whole.parameters(), resumed.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_the_network_of_a_state_is_the_pruned_one() -> None:
    seen = []

    class Look(Callback):
        def on_step(self, state: TrainingState) -> None:
            seen.append((state.spec.rule.threshold, sum(int((p == 0).sum()) for p in state.network().parameters())))

    train([Look()], epochs=1, rule=-100.0)
    assert seen == [(-100.0, 12)] * STEPS, "every weight is pruned"


@pytest.mark.parametrize("callbacks", [3, None, [print], [Callback], Callback()])
def test_what_is_no_callback_is_refused(callbacks: Any) -> None:
    with refuses("callbacks", callbacks):
        train(callbacks)


def test_a_callback_that_fails_after_a_checkpoint_was_read_leaves_all_as_it_was(tmp_path: Path) -> None:
    files: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "progress": False}
    fit(VariationalDropout(MLP((4, 3))), (X, Y), epochs=2, **files)
    guide = VariationalDropout(MLP((4, 3)))
    before = {name: value.clone() for module in (guide, guide.model) for name, value in module.state_dict().items()}
    generator = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="start"):
        fit(guide, (X, Y), epochs=2, resume=True, callbacks=[Listener("a", [], fails="start")], **files)
    after = {name: value for module in (guide, guide.model) for name, value in module.state_dict().items()}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert torch.equal(generator[:8], torch.get_rng_state()[:8])
