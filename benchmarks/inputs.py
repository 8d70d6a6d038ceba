"""Time of what surrounds a training step of 784-300-100-10 at batch 100: indexing, augmentation, progress; interleaved.

The images, augmentation and network are those of ``runs/lenet-300-100.yaml``. Run ``python benchmarks/inputs.py 2> /dev/null``:
the progress bar is drawn on standard error.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from typing import Any

import pyro
import torch
from step_contenders import NUM_DATA as N
from step_contenders import deterministic, stepper
from step_networks import BATCH

from pyro_vd import VariationalDropout, VariationalDropoutELBO
from pyro_vd.data import RandomAffine
from pyro_vd.data.batches import TensorBatches
from pyro_vd.models import MLP
from pyro_vd.networks import mlp
from pyro_vd.training.progress import Progress

SIZES = (784, 300, 100, 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300, help="timed steps (default: 300)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pyro.set_rng_seed(0)
    batches = TensorBatches(torch.rand(N, 28, 28), torch.randint(SIZES[-1], (N,)), BATCH)
    drawn: Iterator[Any] = chain.from_iterable(map(batches.epoch, repeat(torch.Generator().manual_seed(0))))
    augment = RandomAffine(degrees=8, shear=8, scale=0.1, shift=1)
    model = MLP(SIZES, num_data=N)
    elbo = VariationalDropoutELBO()(model, VariationalDropout(model))
    steps = {
        "step, elbo(model, guide)": stepper(elbo, elbo),
        "step, deterministic network": deterministic(mlp(SIZES), fused=True),
    }
    times: dict[str, list[float]] = {}

    def timed(name: str, call: Callable[..., Any], *args: Any) -> Any:
        started = time.perf_counter()
        result = call(*args)
        times.setdefault(name, []).append(time.perf_counter() - started)
        return result

    with Progress("inputs", 0, arguments.rounds + 20, shown=True) as bar:
        for _ in range(arguments.rounds + 20):
            x, y = timed("indexing", next, drawn)
            x = timed("augmentation", augment, x)
            for name, step in steps.items():
                timed(name, step, x, y)
            timed("progress", bar.step)
    print(f"{'-'.join(map(str, SIZES))}, batch {BATCH}, {arguments.threads} thread(s), ms per step of {arguments.rounds} steps")
    for name, values in times.items():
        print(f"{name:30} median {1e3 * statistics.median(values[20:]):7.3f}   least {1e3 * min(values[20:]):7.3f}")


if __name__ == "__main__":
    main()
