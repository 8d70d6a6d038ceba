"""Seconds and peak memory of what is done with 25 million weights, each in a process of its own, and of compacting 50 layers.

Memory is the largest resident memory during the call minus what the process held before it, in multiples of the size of all
weights (25 million numbers in float32, 100 MB); the guide itself holds three times as much: θ, log σ² and the network's own
weights. Run ``python benchmarks/scale.py``, on Linux: it reads and resets the peak of ``/proc/self``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import torch
from memory_mapped import GIB, memory
from torch import nn
from zeroed import zero_at_random

import pyro_vd as vd
from pyro_vd.compaction import compact
from pyro_vd.evaluation.deployed import stored_size
from pyro_vd.guides import WeightGuide
from pyro_vd.models import MLP
from pyro_vd.networks.sizes import compression
from pyro_vd.posterior import read_inference_data, summarize, write_inference_data
from pyro_vd.pruning.pruned import pruned_or_mean
from pyro_vd.workflow.inspection import inspect_layers
from pyro_vd.workflow.posterior_file import save_posterior

SIZES = (784, 4500, 4500, 256, 10)
DEEP = 50
X, Y = torch.rand(400, SIZES[0]), torch.arange(400) % SIZES[-1]
FEW = X[:50], Y[:50]


def guide_of(folder: Path) -> WeightGuide:
    """A guide as after a training: a quarter of the weights beyond the threshold."""
    guide = vd.VariationalDropout(MLP(SIZES, num_data=len(X)))
    with torch.no_grad():
        for name in guide.site_names:
            site = guide.site(name)
            site.get_parameter("log_sigma2").normal_(1.5, 2).add_(site.theta.square().clamp_min(1e-12).log_())
    return guide


def inference_data(folder: Path) -> Any:
    return vd.to_inference_data(guide_of(folder), FEW, num_samples=10)


def data_file(folder: Path) -> Path:
    write_inference_data(inference_data(folder), folder / "data.nc")
    return folder / "data.nc"


def deep_network(folder: Path) -> nn.Module:
    layers = [layer for _ in range(DEEP - 1) for layer in (nn.Linear(256, 256), nn.ReLU())]
    return zero_at_random(nn.Sequential(*layers, nn.Linear(256, 10)))


def after_epoch(guide: WeightGuide) -> None:
    """What ``fit`` measures of the guide after every epoch."""
    net = pruned_or_mean(guide)
    compression(net, guide.site_names)
    stored_size(net)


ROWS: dict[str, tuple[Callable[[Path], Any], Callable[[Any], Any]]] = {
    "the model and its guide": (lambda _: SIZES, lambda sizes: vd.VariationalDropout(MLP(sizes))),
    "fit, one epoch of 4 steps": (guide_of, partial(vd.fit, train=(X, Y), epochs=1, progress=False)),
    "measuring after an epoch": (guide_of, after_epoch),
    "log_alpha": (guide_of, vd.log_alpha),
    "summarize": (guide_of, summarize),
    "inspect_layers": (guide_of, lambda guide: inspect_layers(guide, FEW)),
    "prune": (guide_of, vd.prune),
    "to_inference_data, 10 draws": (guide_of, lambda guide: vd.to_inference_data(guide, FEW, num_samples=10)),
    "write_inference_data": (inference_data, None),
    "read_inference_data": (data_file, read_inference_data),
    "the posterior's file of a run": (guide_of, None),
    f"compact, {DEEP} layers of 256 units": (deep_network, compact),
}
"""By name what is made before, and what is measured; with None, a function of the result and the folder, see :func:`one`."""

WRITERS: dict[str, Callable[[Any, Path], None]] = {
    "write_inference_data": lambda data, folder: write_inference_data(data, folder / "data.nc"),
    "the posterior's file of a run": lambda guide, folder: save_posterior(folder, guide),
}


def one(name: str) -> None:
    """Measure one row in this process."""
    torch.set_num_threads(1)
    pyro.set_rng_seed(0)
    prepare, call = ROWS[name]
    with tempfile.TemporaryDirectory() as folder:
        given = prepare(Path(folder))
        call = call or partial(WRITERS[name], folder=Path(folder))
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
        started = time.process_time()
        result = call(given)
        seconds = time.process_time() - started
        peak = (memory("VmHWM") - before) * GIB
        weights = sum(a * b for a, b in zip(SIZES[1:], SIZES[:-1], strict=True))
        print(f"{name:36}{seconds:8.2f} s {peak / 1e6:8.0f} MB {peak / (4 * weights):6.2f}", flush=True)
        del result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only rows whose name contains this text")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        return one(arguments.row)
    print(f"{'-'.join(map(str, SIZES))}, one thread{'seconds':>28} {'peak':>8} {'/ weights':>10}")
    for name in ROWS:
        if arguments.only in name:
            subprocess.run([sys.executable, __file__, "--row", name], check=True)
    return None


if __name__ == "__main__":
    main()
