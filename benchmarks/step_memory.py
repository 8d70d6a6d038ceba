"""Peak memory of a training step of one layer of 4096 × 4096 weights, each kind of step in a process of its own.

Memory is the resident memory that is held between steps, and its peak in a step, minus what the process held before the network
was made. It is given in multiples of the parameters and the state of Adam of the deterministic network, 3 times its weights.

Run ``python benchmarks/step_memory.py``, on Linux: it reads and resets the peak of ``/proc/self``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from memory_mapped import GIB, memory
from step_contenders import Step, deterministic, ours, ours_compiled
from torch import nn

KINDS = ("deterministic", "pyro_vd", "pyro_vd, compiled")
BATCH, WARM_UP = 100, 2


def one(kind: str, size: int) -> None:
    """Measure one kind of step in this process."""
    torch.set_num_threads(1)
    x, y = torch.rand(BATCH, size), torch.randint(size, (BATCH,))
    before = memory("VmRSS")
    step = _step(kind, size, x, y)
    for _ in range(WARM_UP):
        step(x, y)
    held = memory("VmRSS") - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is held now
    step(x, y)
    peak, unit = memory("VmHWM") - before, 3 * 4 * size * size / GIB
    print(f"{kind:20}{held * 1024:8.0f} MiB {held / unit:6.2f}{peak * 1024:12.0f} MiB {peak / unit:6.2f}", flush=True)


def _step(kind: str, size: int, x: torch.Tensor, y: torch.Tensor) -> Step:
    net = nn.Linear(size, size)
    if kind == "deterministic":
        return deterministic(net, fused=True)
    return ours(net) if kind == "pyro_vd" else ours_compiled(net, x, y, verbose=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=4096, help="inputs and outputs of the layer (default: 4096)")
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kind:
        one(arguments.kind, arguments.size)
        return
    print(f"{'between steps':>32} {'ratio':>6}{'peak in a step':>16} {'ratio':>6}")
    for kind in KINDS:
        subprocess.run([sys.executable, __file__, "--kind", kind, "--size", str(arguments.size)], check=True)


if __name__ == "__main__":
    main()
