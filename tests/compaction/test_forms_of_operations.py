"""Forms of operations that rules must not take for others, and forms that no rule knows: the same function in every case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vd.compaction.compacting import compacted
from pyro_vd.networks.inputs import tensors_in

Forward = Callable[["Net", Tensor], Any]


class Net(nn.Module):
    """Two layers; of the six units between them, unit 1 is 0, unit 2 is constant, and nobody reads unit 3."""

    def __init__(self, between: Forward) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.between = nn.Linear(4, 6), nn.Linear(6, 3), between
        with torch.no_grad():
            self.first.weight[1:3] = self.first.bias[1] = 0
            self.last.weight[:, 3] = 0

    def forward(self, x: Tensor) -> Any:
        return self.between(self, self.first(x))


def check(between: Forward) -> tuple[int, tuple[str, ...]]:
    """Compaction gives the same function; return the number of units left, and the messages."""
    net = Net(between).double().eval()
    x = torch.randn(5, 7, 4, dtype=torch.float64)
    found = compacted(net, x)
    for rows in (x, x[:2], 3 * x.flip(0)):
        for one, other in zip(tensors_in(found.net(rows)), tensors_in(net(rows)), strict=True):
            torch.testing.assert_close(one, other)
    first: Any = found.net.get_submodule("first")
    return len(first.weight), found.plan.messages


FOLLOWED: dict[str, tuple[Forward, int]] = {
    "norm over positions": (lambda net, h: net.last(h.norm(dim=1)), 4),
    "order and dimension of a norm": (lambda net, h: net.last(h.norm(2, 1)), 4),
    "sd without correction": (lambda net, h: net.last(h.std(1, False, True)).mean(1), 4),
    "variance by name": (lambda net, h: net.last(h.var(dim=1, keepdim=True)).mean(1), 4),
    "mean in a type": (lambda net, h: net.last(h.mean(dim=1, dtype=torch.float64)), 3),
    "sum over a negative dimension": (lambda net, h: net.last(h.sum(dim=[-2])), 4),
    "truth values beside numbers": (lambda net, h: (net.last(h.mean(1)), net.last(h.mean(1)) > 0), 4),
    "labels beside numbers": (lambda net, h: (net.last(h.mean(1)), net.last(h.mean(1)).argmax(1)), 4),
}

NOT_FOLLOWED: dict[str, Forward] = {
    "sum of exponentials": lambda net, h: net.last(h.logsumexp(1)),
    "norm over units": lambda net, h: net.last(F.normalize(h, dim=-1)).mean(1),
    "choice of positions by value": lambda net, h: net.last(h[h.sum(-1) > -100].reshape(len(h), -1, 6).mean(1)),
    "places by value": lambda net, h: net.last(h.mean(1)) + torch.where(h[..., 0] > -1e9)[0].double().mean(),
    "bits as another type": lambda net, h: net.last(h.view(torch.int64).view(torch.float64).mean(1)),
    "spectrum": lambda net, h: net.last(torch.fft.rfft(h, dim=1).abs().mean(1)),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_forms_that_are_followed(name: str) -> None:
    between, most = FOLLOWED[name]
    left, messages = check(between)
    assert left <= most
    assert not messages


@pytest.mark.parametrize("name", NOT_FOLLOWED)
def test_other_forms_are_the_same_function(name: str) -> None:
    check(NOT_FOLLOWED[name])


def test_a_form_that_no_rule_knows_leaves_the_network_whole() -> None:
    left, (message,) = check(NOT_FOLLOWED["choice of positions by value"])
    assert left == 6
    assert "Net is left whole, as it cannot be followed: this use of index is not known" in message
