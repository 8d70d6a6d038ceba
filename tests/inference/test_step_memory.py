"""A step needs memory for σ² and two gradients at a time, and for nothing else of the size of the weights."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO
from pyro_vd.distributions import LogUniform

SIZE = 700


@pytest.mark.parametrize("prior", ["approximate", "exact"])
def test_peak_of_a_step(prior: str) -> None:
    x, y = torch.rand(5, SIZE), torch.arange(5)
    model = BayesianNetwork(nn.Linear(SIZE, SIZE), prior=partial(LogUniform, kl=prior))
    guide, elbo = VariationalDropout(model), VariationalDropoutELBO()
    optimizer = torch.optim.Adam(elbo(model, guide).parameters(), fused=True)
    for _ in range(2):
        elbo.backward(model, guide, x, y)
        optimizer.step()
    optimizer.zero_grad()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        elbo.backward(model, guide, x, y)
        optimizer.step()
    events = [each for each in profiled.profiler.kineto_results.events() if each.name() == "[memory]"]
    held = peak = 0
    for each in sorted(events, key=lambda event: event.start_ns()):
        held += each.nbytes()
        peak = max(peak, held)
    assert 2 * 4 * SIZE**2 < peak < 3.2 * 4 * SIZE**2
