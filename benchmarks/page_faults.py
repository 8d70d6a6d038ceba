"""What a step of the network of ``imdb-lstm`` costs where memory is given back to the system after use, and where it is kept.

glibc takes blocks of more than 32 MB from the system at every use, and the system clears them page by page. Two environment
variables change that: see ``docs/troubleshooting.md``. The words are random. Processes with and without them take turns, each
with a few steps.
Run ``python benchmarks/page_faults.py``.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from statistics import median

import torch

from pyro_vd import BayesianNetwork, VariationalDropout, fit
from pyro_vd.networks import lstm_classifier
from pyro_vd.training import Callback, TrainingState

KEPT = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
"""The environment in which the process keeps its memory."""
_STEPS, _PROCESSES = 6, 3


class Steps(Callback):
    """What has been used up to the end of each step: seconds of the clock, of the system, and page faults."""

    def __init__(self) -> None:
        self.used: list[tuple[float, float, int]] = []

    def on_step(self, state: TrainingState) -> None:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.used.append((time.perf_counter(), usage.ru_stime, usage.ru_minflt))


def measured() -> list[float]:
    """Seconds of the clock, of the system, and page faults of a step."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = torch.randint(20_000, (128 * _STEPS, 200)), torch.randint(2, (128 * _STEPS,))
    fit(
        VariationalDropout(BayesianNetwork(lstm_classifier())),
        data,
        epochs=1,
        batch_size=128,
        progress=False,
        callbacks=[steps := Steps()],
    )
    return [(last - first) / (_STEPS - 1) for first, last in zip(steps.used[0], steps.used[-1], strict=True)]


def main() -> None:
    if sys.argv[1:] == ["measure"]:
        print(json.dumps(measured()))
        return
    found: dict[str, list[list[float]]] = {"given back": [], "kept": []}
    for _ in range(_PROCESSES):
        for name, values in found.items():
            environment = {key: value for key, value in os.environ.items() if key not in KEPT}
            environment |= KEPT if name == "kept" else {}
            done = subprocess.run([sys.executable, __file__, "measure"], env=environment, stdout=subprocess.PIPE, check=True)
            values.append(json.loads(done.stdout))
    for name, values in found.items():
        seconds, of_system, faults = (median(each) for each in zip(*values, strict=True))
        print(f"{name}: {seconds:.2f} s per step, {of_system:.2f} s of them in the system, {faults:,.0f} page faults")


if __name__ == "__main__":
    main()
