"""A trial run of a model on a batch changes nothing: no statistics, no modes, no attributes and no random state."""

from __future__ import annotations

import threading
from typing import Any

import pyro.distributions as dist
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, fit
from pyro_vd.data import TensorBatches
from pyro_vd.guides import PointEstimate
from pyro_vd.training.batch_checks import check_batches

N = 48
X, Y = torch.randn(N, 6, generator=torch.Generator().manual_seed(0)), torch.arange(N) % 3


def test_the_trial_run_leaves_no_trace() -> None:
    """The first batch fits, the last does not: statistics, modes and the random state stay as they were."""
    model = BayesianNetwork(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 3))).eval()
    guide = PointEstimate(model)
    buffers = {name: (buffer, buffer.clone()) for name, buffer in model.named_buffers()}
    state = torch.get_rng_state()
    with refuses(ANYTHING, ANYTHING, N, N - 1, "BatchNorm1d"):
        fit(guide, (X, Y), epochs=1, batch_size=N - 1, progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(buffer is model.get_buffer(name) and torch.equal(buffer, value) for name, (buffer, value) in buffers.items())
    assert not any(module.training for module in model.modules())


class Counted(nn.Module):
    """A likelihood that counts its calls in training mode, and has an attribute that cannot be copied."""

    def __init__(self) -> None:
        super().__init__()
        self.lock, self.inner = threading.Lock(), nn.BatchNorm1d(3)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        with self.lock:
            if self.training:
                self.calls += 1
        return dist.Categorical(logits=self.inner(output))


class Streaming(BayesianNetwork):
    """A model with an attribute that cannot be copied."""

    def __init__(self, net: nn.Module, likelihood: Any) -> None:
        super().__init__(net, likelihood)
        self.stream, self.layers = iter(x for x in ()), [net]


def test_the_trial_run_copies_neither_likelihood_nor_attributes_and_changes_neither() -> None:
    likelihood = Counted().eval()
    model = Streaming(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)), likelihood)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    modes = [module.training for module in model.modules()]
    check_batches(TensorBatches(X, Y, 20), model)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    guide = PointEstimate(model)
    fit(guide, (X, Y), epochs=2, batch_size=20, progress=False)
    assert likelihood.calls == 6, "only steps call it"
    with refuses(ANYTHING, ANYTHING, N, N - 1, "BatchNorm1d"):
        check_batches(TensorBatches(X, Y, N - 1), model)


def test_the_trial_run_takes_no_memory_for_the_weights() -> None:
    model = BayesianNetwork(nn.Sequential(nn.Linear(6, 5).requires_grad_(False), nn.Linear(5, 3)))
    apart = dict(model.apart().named_buffers())
    assert all(apart[name] is buffer for name, buffer in model.named_buffers())
