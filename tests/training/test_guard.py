"""Non-finite steps: skipped and counted without a trace, ten in a row are the end."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, NonFiniteError, VariationalDropout, VariationalDropoutELBO, fit
from pyro_vd.guides import PointEstimate, WeightGuide
from pyro_vd.training.guard import NonFiniteGuard

X, Y = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
OPTIONS: dict[str, Any] = {"batch_size": 10, "lr": 0.01, "progress": False}


class Bad(nn.Module):
    """Passes its input on, multiplied by ``factor`` in some training steps, counted from 1."""

    def __init__(self, steps: Collection[int], factor: float = math.nan) -> None:
        super().__init__()
        self.steps, self.factor, self.taken = steps, factor, 0

    def forward(self, x: Tensor) -> Tensor:
        self.taken += self.training
        return x * self.factor if self.training and self.taken in self.steps else x


class BadGradient(Bad):
    """Its output is right in every step, its gradient is not: 0 · ∞."""

    def forward(self, x: Tensor) -> Tensor:
        bad = super().forward(x) is not x
        return x + 0 * (x - x.detach()).sqrt() if bad else x


def pair(bad: Bad, guide: type[WeightGuide] = VariationalDropout) -> tuple[BayesianNetwork, WeightGuide]:
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 6), bad, nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    model = BayesianNetwork(net)
    return model, guide(model)


def state_of(*modules: nn.Module) -> list[list[float]]:
    return [tensor.tolist() for module in modules for tensor in module.state_dict().values()]


@pytest.mark.parametrize("guide", [VariationalDropout, PointEstimate])
@pytest.mark.parametrize("bad", [Bad(range(5)), Bad(range(5), math.inf), BadGradient(range(5))], ids=["nan", "inf", "gradient"])
def test_skipped_steps_leave_no_trace(bad: Bad, guide: type[WeightGuide]) -> None:
    """An epoch of four bad steps is the end, and changes nothing, running statistics included; good ones change everything."""
    trained = pair(bad, guide)
    before = state_of(*trained)
    with pytest.raises(NonFiniteError):
        fit(trained[1], (X, Y), epochs=1, **OPTIONS)
    assert state_of(*trained) == before
    trained = pair(Bad(()), guide)
    assert fit(trained[1], (X, Y), epochs=1, **OPTIONS).skipped == 0
    initial = set(trained[0].weight_names)
    changed = [name for name, tensor in zip(names(*trained), state_of(*trained), strict=True) if tensor not in before]
    assert len(changed) == len(before) - len(initial), "all but the initial weights"


def names(*modules: nn.Module) -> list[str]:
    return [name for module in modules for name in module.state_dict()]


def test_training_goes_on_after_nine() -> None:
    steps = [*range(5, 14), *range(15, 24)]  # ten an epoch
    trained = pair(Bad(steps))
    result = fit(trained[1], (X, Y), epochs=40, **{**OPTIONS, "batch_size": 4})
    assert result.skipped == 18
    assert [record.skipped for record in result.history[:4]] == [6, 15, 18, 18]
    assert result.history[-1].loss < 0.8 * result.history[0].loss
    assert all(torch.isfinite(tensor).all() for module in trained for tensor in module.state_dict().values())


@pytest.mark.parametrize(
    ("bad", "loss"), [(Bad(range(5, 99)), "nan"), (Bad(range(5, 99), math.inf), "nan"), (BadGradient(range(5, 99)), "")]
)
def test_ten_in_a_row_are_the_end(bad: Bad, loss: str) -> None:
    trained = pair(bad)
    with pytest.raises(NonFiniteError) as caught:
        fit(trained[1], (X, Y), epochs=40, **{**OPTIONS, "batch_size": 4})
    message = str(caught.value)
    for text in ("10 steps in a row", f"loss is {loss}", "gradients of", "0.weight.theta", "0.weight.log_sigma2"):
        assert text in message
    for advice in ("learning rate", "KL warm-up", "log_sigma2", "inputs scaled"):
        assert advice in message
    assert all(torch.isfinite(tensor).all() for module in trained for tensor in module.state_dict().values())


def test_parameters_that_are_not_finite_are_named() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        net[1].bias.fill_(math.inf)
    guard = NonFiniteGuard(net, VariationalDropoutELBO())
    guard.skipped = 5
    loss = net(torch.ones(1, 2)).sum()
    loss.backward()
    assert [guard.is_finite(loss) for _ in range(9)] == [False] * 9
    assert guard.skipped == 14, "counted on from before"
    with pytest.raises(NonFiniteError, match=r"1\.bias"):
        guard.is_finite(loss)


@pytest.mark.parametrize(("gradient", "finite"), [(1e30, True), (3e38, True), (math.inf, False), (math.nan, False)])
def test_gradients_whose_sum_or_squares_overflow_are_finite(gradient: float, finite: bool) -> None:
    layer = nn.Linear(2, 1)
    for parameter in layer.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    assert NonFiniteGuard(layer, VariationalDropoutELBO()).is_finite(torch.tensor(1.0)) is finite


def test_infinities_of_both_signs_do_not_cancel() -> None:
    layer = nn.Linear(2, 1, bias=False)
    layer.weight.grad = torch.tensor([[math.inf, -math.inf]])
    assert not NonFiniteGuard(layer, VariationalDropoutELBO()).is_finite(torch.tensor(1.0))
