"""What a step costs in a deep network: as much more as it has more layers."""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from pyro.poutine import block
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO
from pyro_vd.guides import GaussianDropout, PointEstimate


class Scaled(BayesianNetwork):
    """One latent site beside the weights."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        output = super().forward(x, y)
        pyro.sample("scale", dist.Normal(0.0, 1.0))
        return output


def calls_of_a_step(make: Any, layers: int) -> int:
    """Functions of this library that one step calls, loops over sites included: these call one for each."""
    model = make[1](nn.Sequential(*(nn.Linear(2, 2) for _ in range(layers))))
    guide = make[0](model)
    if make[1] is Scaled:
        guide.append(AutoNormal(block(model, hide=model.weight_names)))
    elbo = VariationalDropoutELBO()
    data = torch.randn(3, 2), torch.tensor([0, 1, 0])
    for _ in range(2):  # the first makes what is remembered
        count = 0

        def counted(frame: Any, event: str, argument: Any) -> None:
            nonlocal count
            count += event == "call" and "pyro_vd" in frame.f_code.co_filename

        sys.setprofile(counted)
        try:
            elbo.differentiable_loss(model, guide, *data)
        finally:
            sys.setprofile(None)
    return count


@pytest.mark.parametrize("model", [BayesianNetwork, Scaled])
@pytest.mark.parametrize("guide", [PointEstimate, VariationalDropout, partial(GaussianDropout, p=0.5)])
def test_a_step_costs_the_same_for_every_site(guide: Any, model: Any) -> None:
    few, more, many = (calls_of_a_step((guide, model), layers) for layers in (4, 8, 12))
    assert many - more == more - few > 0
