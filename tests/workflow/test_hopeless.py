"""A run asks after every tenth of its training after the KL warm-up whether it is hopeless."""

from __future__ import annotations

import pytest
import torch

from pyro_vd import BayesianNetwork, KLWeight, VariationalDropout, fit
from pyro_vd.workflow.hopeless import HopelessError, StopWhereHopeless


def asked(epochs: int, end: int, phase: str = "train", stop_at: int | None = None) -> list[tuple[int, float]]:
    """The questions of a training."""
    questions: list[tuple[int, float]] = []

    def ask(tenths: int, score: float) -> bool:
        questions.append((tenths, score))
        return tenths == stop_at

    guide = VariationalDropout(BayesianNetwork(torch.nn.Linear(3, 2)))
    data = torch.randn(20, 3), torch.randint(2, (20,))
    settings = {"kl_weight": KLWeight(start=0, end=end), "epochs": epochs, "phase": phase, "progress": False}
    fit(guide, data, data, callbacks=[StopWhereHopeless(ask)], **settings)  # type: ignore[arg-type]
    return questions


@pytest.mark.parametrize(("epochs", "end", "tenths"), [(30, 10, range(1, 10)), (13, 10, [3, 6]), (5, 5, []), (4, 9, [])])
def test_tenths(epochs: int, end: int, tenths: list[int]) -> None:
    questions = asked(epochs, end)
    assert [number for number, _ in questions] == list(tenths)
    assert all(0 <= score <= 1 for _, score in questions)


def test_other_phases_are_left_alone() -> None:
    assert asked(20, 0, phase="finetune") == []


def test_stopped() -> None:
    with pytest.raises(HopelessError, match="epoch 6 of 20"):
        asked(20, 0, stop_at=3)
