"""Memory of a training on a memory-mapped array on disk that is larger than what the process may hold.

Run ``python benchmarks/memory_mapped.py``. The array is a sparse file, which takes no space on the disk where nothing was
written; every row is read once per epoch, in a random order. What is reported is the peak of all resident memory of the process
(``VmHWM``: its own memory, mapped pages of files, and shared memory), the libraries included; and the parts of it at the end of
each epoch: memory of its own (``RssAnon``) and mapped pages of files (``RssFile``).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from pyro_vd import VariationalDropout, fit
from pyro_vd.evaluation import EpochRecord
from pyro_vd.models import MLP
from pyro_vd.training import Callback, TrainingState

GIB = 2**30


def memory(key: str) -> float:
    """A line of the status of this process, in GiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[key].split()[0]) * 1024 / GIB


def sparse_array(path: Path, rows: int, width: int) -> np.memmap:
    """Rows of zeros, a hundred of which hold random numbers and are on the disk."""
    array = np.memmap(path, np.float32, "w+", shape=(rows, width))
    rng = np.random.default_rng(0)
    for row in rng.integers(rows, size=100):
        array[row] = rng.standard_normal(width)
    array.flush()
    return np.memmap(path, np.float32, "r", shape=(rows, width))


class ReportMemory(Callback):
    """Prints the memory at the end of each epoch."""

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        parts = ", ".join(f"{key} {memory(key):.2f}" for key in ("RssAnon", "RssFile", "VmHWM"))
        print(f"epoch {record.epoch}: loss {record.loss:.4g}, {record.seconds:.0f} s; GiB: {parts}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=10, help="size of the array in GiB (default: 10)")
    parser.add_argument("--width", type=int, default=4096, help="numbers per row (default: 4096)")
    parser.add_argument("--batch-size", type=int, default=256, help="rows per step (default: 256)")
    parser.add_argument("--folder", type=Path, help="where the array is written (default: a temporary folder)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = int(arguments.gib * GIB / 4 / arguments.width)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        x, y = sparse_array(Path(folder) / "x", rows, arguments.width), np.arange(rows) % 2
        guide = VariationalDropout(MLP((arguments.width, 2)))
        print(f"{rows} rows, {x.nbytes / GIB:.2f} GiB; before: VmHWM {memory('VmHWM'):.2f} GiB", flush=True)
        path, started = Path(folder) / "checkpoint.pt", time.perf_counter()
        held_out = x[: rows // 20], y[: rows // 20]
        options = {"batch_size": arguments.batch_size, "callbacks": [ReportMemory()], "progress": False}
        fit(guide, (x, y), held_out, epochs=1, checkpoint=path, **options)
        print(f"{time.perf_counter() - started:.0f} s; peak of resident memory {memory('VmHWM'):.3f} GiB")


if __name__ == "__main__":
    main()
