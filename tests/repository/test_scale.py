"""Memory in proportion to the weights, at a size that tests can take: what ``benchmarks/scale.py`` measures at 25 million.

Tensors are counted by torch's profiler, everything else by tracemalloc: both are the same in every run.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import pyro_vd as vd
from pyro_vd._core.storage import load_checkpoint, save_checkpoint, write_atomically
from pyro_vd.evaluation.deployed import stored_size
from pyro_vd.guides import WeightGuide
from pyro_vd.models import MLP
from pyro_vd.posterior import summarize, write_inference_data
from pyro_vd.posterior.summary import QUANTILES, quantiles
from pyro_vd.pruning.pruned import pruned_or_mean
from pyro_vd.workflow.posterior_file import load_posterior, save_posterior

SIZES = (300, 1000, 1000, 10)
WEIGHTS = 4 * sum(a * b for a, b in pairwise(SIZES))
"""The bytes of all weights, of which the largest layer has three quarters."""


@pytest.fixture(scope="module")
def guide() -> WeightGuide:
    torch.manual_seed(0)
    guide = vd.VariationalDropout(MLP(SIZES))
    summarize(guide)
    return guide


def tensors_at_once(call: Callable[[], Any]) -> float:
    """The most bytes of tensors that a call holds at one time beyond those that were there, in multiples of all weights."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = call()
    held, peak = 0, 0
    events: Any = profiled.profiler
    for event in sorted(events.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    del result
    assert peak > 0
    return peak / WEIGHTS


def bytes_at_once(call: Callable[[], Any]) -> int:
    """The most bytes of Python and NumPy that a call holds at one time."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("call", "most"),
    [
        pytest.param(vd.log_alpha, 1.8, id="log_alpha: the result, and two tensors of the largest layer"),
        pytest.param(vd.prune, 1.9, id="prune: the network and the masks, or the masks and two tensors of the largest layer"),
        pytest.param(lambda guide: stored_size(pruned_or_mean(guide)), 1.9, id="after an epoch: the same"),
        pytest.param(summarize, 1.9, id="summarize: the masks and two tensors of the largest layer"),
    ],
)
def test_a_few_tensors_are_held_at_a_time(guide: WeightGuide, call: Callable[[WeightGuide], Any], most: float) -> None:
    assert tensors_at_once(lambda: call(guide)) < most


def test_quantiles_are_those_of_sorted_values_in_one_copy() -> None:
    values = torch.randn(1000, 1001, generator=torch.Generator().manual_seed(0))
    values[:300, 0], values[300:310, 0] = torch.inf, -torch.inf
    for some in (values, values.double(), values.T, values[:1, :1], values[0, :2], values.bfloat16()):
        ordered = some.flatten().sort().values
        assert quantiles(some) == tuple(ordered[round(q * (len(ordered) - 1))].item() for q in QUANTILES)
    assert bytes_at_once(lambda: quantiles(values)) < 1.1 * values.nbytes


def test_a_checkpoint_is_in_memory_once(tmp_path: Path) -> None:
    path, state = tmp_path / "c.pt", {"x": torch.rand(4, 1_000_000)}
    assert bytes_at_once(lambda: save_checkpoint(path, state)) < 1.5 * state["x"].nbytes  # a buffer that grows
    assert bytes_at_once(lambda: load_checkpoint(path)) < 1.1 * state["x"].nbytes  # the file; tensors are not counted


def test_a_posterior_is_never_in_memory_as_a_whole(tmp_path: Path, guide: WeightGuide) -> None:
    parts = (bytes(2**20) for _ in range(16))
    assert bytes_at_once(lambda: write_atomically(tmp_path / "large", parts)) < 2**22
    assert (tmp_path / "large").read_bytes() == bytes(2**24)

    assert bytes_at_once(lambda: save_posterior(tmp_path, guide)) < 0.5 * WEIGHTS  # of a file of three times as many
    again = vd.VariationalDropout(MLP(SIZES))
    load_posterior(next(tmp_path.glob("*.safetensors")), again)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in guide.state_dict().items())


def test_a_netcdf_file_is_in_memory_once(tmp_path: Path, guide: WeightGuide) -> None:
    """Written to disk by the C library, it would end the process where the disk is full."""
    x = torch.rand(4, SIZES[0])
    data = vd.to_inference_data(guide, (x, torch.arange(4)), num_samples=2)
    write_inference_data(data, tmp_path / "data.nc")  # imports
    path = tmp_path / "data.nc"
    assert bytes_at_once(lambda: write_inference_data(data, path)) < 1.5 * path.stat().st_size  # a buffer that grows
