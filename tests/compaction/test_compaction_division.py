"""A unit that something is divided by stays: one that is removed would be 0 where others of its layer are not."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
import torch
from compaction_support import check_compact
from torch import Tensor, nn

from pyro_vd.networks.layers import widths


class Quotient(nn.Module):
    """``c`` reads a function of ``a(x)`` and ``b(x)``, ``d`` reads ``a(x)`` alone."""

    def __init__(self, between: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(4, 3), nn.Linear(4, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        read = self.d(a)  # before b has its say
        return read + self.c(self.between(a, self.b(x)))


QUOTIENTS: dict[str, Callable[[Any, Any], Any]] = {
    "a number by a unit": lambda a, b: 2 / b,
    "operator": operator.truediv,
    "in place": lambda a, b: operator.itruediv(a + 0, b),
    "function": torch.div,
    "function, by name": lambda a, b: torch.div(a, other=b),
    "method": lambda a, b: a.div(b),
    "method, by name": lambda a, b: a.div(other=b),
    "rounded": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "floor": operator.floordiv,
    "remainder": operator.mod,
    "reciprocal": lambda a, b: b.reciprocal(),
    "inverse root": lambda a, b: (b * b).rsqrt(),
    "logarithm": lambda a, b: (b * b).log(),
    "power": lambda a, b: b**-2,
}


@pytest.mark.parametrize("column", [1, slice(None)], ids=["one column", "all columns"])
@pytest.mark.parametrize("case", QUOTIENTS)
def test_a_divisor_stays(case: str, column: int | slice) -> None:
    net = Quotient(QUOTIENTS[case])
    with torch.no_grad():
        net.c.weight[:, column] = 0
    small = check_compact(net, 6)
    assert widths(small) == widths(net)


def test_division_by_a_number_goes_on() -> None:
    net = Quotient(lambda a, b: (a / 2 + torch.div(b, 3)).div(4))
    with torch.no_grad():
        net.c.weight[:, 1] = net.d.weight[:, 1] = 0
    assert widths(check_compact(net, 6)) == (6, 3, 3, 3, 3)
