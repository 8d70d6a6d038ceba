"""How fast a pruned multilayer perceptron runs in each form, and how large it is: side by side, interleaved, in one process.

Run ``python benchmarks/inference.py RUN``, RUN the folder of a finished ``pyro-vd train``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from pyro_vd import compact, load_pruned, load_run, mean_network, save_pruned, sparsify_runtime
from pyro_vd.feature_major import FeatureMajor
from pyro_vd.metrics import Arrays, layer_sizes
from pyro_vd.networks import widths
from pyro_vd.prediction import logits
from pyro_vd.run_folder import PRUNED
from pyro_vd.tables import print_table

BATCHES = (1, 64, 1024)
TURN = 10


def forms(dense: nn.Module, masked: nn.Module) -> dict[str, nn.Module]:
    """The networks to compare; the chosen one is measured for the present number of threads."""
    small = compact(masked)
    return {
        "dense": dense,
        "masked": masked,
        "CSR": FeatureMajor(masked),
        "compact": small,
        "compact CSR": FeatureMajor(small),
        "chosen": sparsify_runtime(small, BATCHES),
    }


def size_row(name: str, net: nn.Module) -> list[str]:
    """Of a plain network; effective floating-point operations are those with weights that are not zero."""
    layers = layer_sizes(net)
    weights, nonzero = sum(layer.weights for layer in layers), sum(layer.nonzero for layer in layers)
    with tempfile.TemporaryDirectory() as folder:
        save_pruned(net, path := Path(folder) / "net.safetensors")
        size = path.stat().st_size
    parameters = sum(parameter.numel() for parameter in net.parameters())
    counts = (parameters, nonzero, 2 * weights, 2 * nonzero, size)
    return [name, "-".join(map(str, widths(net))), *(f"{count:,}" for count in counts)]


def wrong(net: nn.Module, data: Arrays) -> str:
    """Wrong predictions of how many."""
    x, y = data
    return f"{int((logits(net, x).argmax(-1) != y).sum())} of {len(y)}"


def latencies(nets: dict[str, nn.Module], x: Tensor, calls: int) -> dict[str, list[float]]:
    """Seconds of every call. The networks take turns of some calls, the first of which, with another's caches, is not timed."""
    times: dict[str, list[float]] = {name: [] for name in nets}
    while len(times["dense"]) < calls:
        for name, net in nets.items():
            net(x)
            for _ in range(TURN):
                started = time.perf_counter()
                net(x)
                times[name].append(time.perf_counter() - started)
    return times


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--calls", type=int, default=500, help="timed calls of each form at each batch size (default: 500)")
    parser.add_argument("--data-dir", type=Path, help="torchvision root (default: the recipe's)")
    arguments = parser.parse_args()

    run = load_run(arguments.run, arguments.data_dir)
    dense, masked = mean_network(run.model, run.guide).eval(), load_pruned(run.folder / PRUNED)
    columns = ["network", "units", "parameters", "non-zero weights", "FLOPs", "effective FLOPs", "bytes"]
    sizes = {"dense": dense, "masked": masked, "compact": compact(masked)}
    print_table("size; FLOPs of one example", columns, [size_row(*item) for item in sizes.items()])
    x, _ = run.data.test
    for threads in sorted({1, os.cpu_count() or 1}):
        torch.set_num_threads(threads)
        nets = forms(dense, masked)
        if threads == 1:
            rows = [[name, wrong(net, run.data.test)] for name, net in nets.items()]
            print_table("wrong on the test data", ["network", "wrong"], rows)
        for batch in BATCHES:
            measured = latencies(nets, x[:batch].clone(), arguments.calls)
            medians = {name: statistics.median(times) for name, times in measured.items()}
            rows = [
                [
                    name,
                    f"{1e6 * medians[name]:.1f}",
                    f"{1e6 * statistics.quantiles(times, n=100)[98]:.1f}",
                    f"{batch / medians[name]:,.0f}",
                    f"{medians['dense'] / medians[name]:.2f}x",
                ]
                for name, times in measured.items()
            ]
            title = f"batch {batch}, {threads} thread(s), {arguments.calls} calls"
            print_table(title, ["network", "median µs", "p99 µs", "examples/s", "dense / this"], rows)


if __name__ == "__main__":
    main()
