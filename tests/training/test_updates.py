"""An update of several batches is that of one batch with all their examples; long gradients are shortened."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from support import EachStep, run_cli
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, KLWeight, VariationalDropout, fit
from pyro_vd.guides import PointEstimate
from pyro_vd.models import MLP
from pyro_vd.training import FitResult, TrainingState
from pyro_vd.workflow.recipe_files import parse_recipe

X = torch.randn(23, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.arange(23) % 3
SGD = partial(torch.optim.SGD, lr=1e-4, momentum=0.9)


def trained(batch_size: int, accumulate: int, **options: Any) -> tuple[VariationalDropout, FitResult]:
    """In float64 and without noise: the variances of the weights are too small, and of their KL only the gradient stays."""
    torch.manual_seed(1)
    guide = VariationalDropout(MLP((4, 6, 3)).double(), -60.0)
    settings = {"epochs": 3, "optimizer": SGD, "progress": False, **options}
    return guide, fit(guide, (X, Y), batch_size=batch_size, accumulate=accumulate, **settings)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(5, 2), (5, 3), (8, 3), (1, 23), (5, 100)])
def test_the_gradient_is_that_of_one_batch_of_all_examples(batch_size: int, accumulate: int) -> None:
    """23 examples: also a smaller last batch within an update, and updates of fewer batches at the end of an epoch."""
    one_update = batch_size * accumulate >= 23
    beta = {"kl_weight": KLWeight(2.0, end=3 if one_update else 0), "validation": (X, Y)}  # which is set once per update
    several, of_several = trained(batch_size, accumulate, **beta)
    whole, of_whole = trained(min(23, batch_size * accumulate), 1, **beta)
    for (name, one), other in zip(several.named_parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8, msg=name)  # √ε of the noise is 10⁻⁸
    for one, other in zip(of_several.history, of_whole.history, strict=True):
        for key in ("loss", "data_term", "kl", "kl_weight", "score"):
            assert getattr(one, key) == pytest.approx(getattr(other, key), rel=1e-5), key
    still, _ = trained(23, 1, epochs=1, optimizer=partial(torch.optim.SGD, lr=1e-300))
    moved = [(one - other).abs().max() for one, other in zip(several.parameters(), still.parameters(), strict=True)]
    assert min(moved) > 1e-6, "the KL moves the variances, the data the means"


def test_callbacks_are_called_after_each_batch() -> None:
    seen: list[float] = []

    def look(state: TrainingState) -> None:
        seen.append(state.now)

    trained(5, 2, epochs=1, callbacks=[EachStep(look)])
    assert seen == [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1.0]


class Bad(nn.Module):
    """NaN at the fourth batch."""

    taken = 0

    def forward(self, x: Tensor) -> Tensor:
        self.taken += self.training
        return x * math.nan if self.training and self.taken == 4 else x


def test_one_bad_batch_spoils_its_update() -> None:
    net = nn.Sequential(nn.BatchNorm1d(4), Bad(), nn.Linear(4, 3)).double()
    guide = VariationalDropout(BayesianNetwork(net))
    counts = []

    def look(state: TrainingState) -> None:
        counts.append((state.guard.skipped, int(state.guide.model.net[0].num_batches_tracked)))

    fit(guide, (X, Y), epochs=1, batch_size=5, accumulate=2, optimizer=SGD, progress=False, callbacks=[EachStep(look)])
    assert counts == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3)], "the statistics are those before both batches of the update"


def step_lengths(max_grad_norm: float | None) -> list[float]:
    """The lengths of the steps of gradient descent at the rate 1/N, which are the norms of the gradients per example."""
    torch.manual_seed(1)
    guide = PointEstimate(MLP((4, 3)).double())
    values: list[Tensor] = [torch.cat([p.detach().flatten() for m in (guide, guide.model) for p in m.parameters()])]

    def look(state: TrainingState) -> None:
        values.append(torch.cat([p.detach().flatten() for m in (guide, guide.model) for p in m.parameters()]))

    sgd = partial(torch.optim.SGD, lr=1 / 23)
    options: dict[str, Any] = {"epochs": 2, "batch_size": 8, "progress": False, "callbacks": [EachStep(look)]}
    fit(guide, (X, Y), optimizer=sgd, max_grad_norm=max_grad_norm, **options)
    return [(after - before).norm().item() for before, after in pairwise(values)]


def test_gradients_are_shortened_to_the_limit() -> None:
    free = step_lengths(None)
    assert step_lengths(1e6) == free
    limit = sorted(free)[3]
    first = free[0] if free[0] < limit else limit
    limited = step_lengths(limit)
    assert limited[0] == pytest.approx(first, rel=1e-5)
    assert max(limited) <= limit * (1 + 1e-6)
    assert step_lengths(1e-3) == pytest.approx([1e-3] * 6, rel=1e-4)


def test_in_a_recipe() -> None:
    keys = {"optimizer": "AdamW", "max_grad_norm": 0.5, "accumulate": 4}
    options = parse_recipe({"train": keys}).train.fit_options()
    assert {name: options[name] for name in keys} == keys
    for key, value in {"optimizer": "AdaW", "max_grad_norm": 0, "accumulate": 0}.items():
        code, _, err = run_cli("train", "digits", f"--train.{key}={value}", "--out", "never")
        assert code == 2
        assert f"train.{key}" in err
        assert str(value) in err
