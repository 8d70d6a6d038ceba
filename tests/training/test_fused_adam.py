"""Our Adam: the numbers, the state and the hooks of torch's."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from pyro_vd.training.fused_adam import FusedAdam

KINDS: dict[str, Any] = {"ours": FusedAdam, "torch's": partial(torch.optim.Adam, fused=True)}


def made(kind: str, dtype: torch.dtype) -> tuple[list[nn.Parameter], Any]:
    """Parameters in two groups, of which the last one may have another type."""
    torch.manual_seed(0)
    one, two, three = nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(2, dtype=dtype))
    groups = [{"params": [one]}, {"params": [two, three], "weight_decay": 0.3, "lr": 0.05}]
    return [one, two, three], KINDS[kind](groups, lr=0.1, weight_decay=0.1)


def step(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer, number: int) -> None:
    """In every other step, the second parameter has no gradient."""
    optimizer.zero_grad()
    one, two, three = parameters
    loss = one.square().sum() + three.exp().sum()
    (loss + two.sin().sum() if number % 2 else loss).backward()
    optimizer.step()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["one type", "two types"])
def test_numbers_and_states_are_those_of_torch(dtype: torch.dtype) -> None:
    """And either goes on from the state of the other."""
    (ours, adam), (others, of_torch) = made("ours", dtype), made("torch's", dtype)
    for number in range(9):
        step(ours, adam, number)
        step(others, of_torch, number)
        assert all(map(torch.equal, ours, others))
        first, second = adam.state_dict(), of_torch.state_dict()
        assert first["param_groups"] == second["param_groups"]
        assert first["state"].keys() == second["state"].keys()
        for key, state in first["state"].items():
            assert all(torch.equal(state[name], value) for name, value in second["state"][key].items())
        if number == 5:
            adam.load_state_dict(second)
            of_torch.load_state_dict(first)


def test_hooks_and_closures_are_called() -> None:
    parameters, adam = made("ours", torch.float32)
    calls: list[str] = []
    step(parameters, adam, 1)
    before = adam.register_step_pre_hook(lambda *_: calls.append("before"))
    after = register_optimizer_step_post_hook(lambda *_: calls.append("after"))
    step(parameters, adam, 1)
    assert calls == ["before", "after"]
    before.remove()
    after.remove()
    step(parameters, adam, 1)
    assert calls == ["before", "after"]
    assert adam.step(lambda: 3.0) == 3
    assert {int(state["step"]) for state in adam.state.values()} == {4}


def test_gradients_of_a_scaler_are_scaled_back_and_skipped_where_they_are_not_finite() -> None:
    found = []
    for kind in KINDS:
        parameters, adam = made(kind, torch.float32)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for factor in (1.0, 2.0, math.inf, 3.0):
            adam.zero_grad()
            scaler.scale(sum((factor * each.square()).sum() for each in parameters)).backward()
            scaler.step(adam)
            scaler.update()
        found.append(parameters)
    assert all(map(torch.equal, *found))
    assert all(parameter.isfinite().all() for parameter in found[0])


def test_an_empty_state_that_a_look_at_it_has_made_is_filled() -> None:
    (ours, adam), (others, of_torch) = made("ours", torch.float32), made("torch's", torch.float32)
    assert adam.state[ours[0]] == {}
    step(ours, adam, 1)
    step(others, of_torch, 1)
    assert all(map(torch.equal, ours, others))


def test_gradients_are_removed() -> None:
    parameters, adam = made("ours", torch.float32)
    step(parameters, adam, 1)
    adam.zero_grad(set_to_none=False)
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in parameters)
    adam.zero_grad()
    assert all(parameter.grad is None for parameter in parameters)
