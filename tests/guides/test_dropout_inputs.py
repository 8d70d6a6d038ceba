"""Dropout guides find out which layers read the data, whatever the form of the inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropoutELBO
from pyro_vd.guides import BernoulliDropout


class Branching(nn.Module):
    """Two layers that read the data and one that does not; ``torch.fx`` cannot follow the branch."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(4, 6), nn.Linear(3, 6), nn.Linear(6, 3)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        h = self.left(a) + self.right(b)
        return self.head(h.relu() if h.sum() > 0 else h.tanh())


A, B, Y = torch.randn(5, 4), torch.randn(5, 3), torch.arange(5) % 3


@pytest.mark.parametrize("x", [(A, B), {"b": B, "a": A}], ids=["tuple", "mapping"])
def test_layers_that_read_the_data_have_no_noise(x: Any) -> None:
    model = BayesianNetwork(Branching())
    guide = BernoulliDropout(model, 0.5)
    VariationalDropoutELBO()(model, guide)(x, Y).backward()
    assert [name for name in model.weight_names if model.reads_data(name)] == ["left.weight", "right.weight"]
