"""What ``sparsify_runtime`` does with networks of others: each layer dense and sparse, and the whole, in one process.

Run ``python benchmarks/sparse_runtime.py``, or with parts of the names of networks. All weights but a share ``--density`` are
zeroed at random, half of the rows of every embedding too.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Sequence

import torch
from torch import nn
from zoo import Specimen, specimens

from pyro_vd.networks.inputs import Inputs, rows, run
from pyro_vd.runtime import sparsify_runtime
from pyro_vd.runtime.report import LayerTime
from pyro_vd.workflow.tables import print_table

BATCHES = (1, 64)


@torch.no_grad()
def sparse(specimen: Specimen, density: float) -> nn.Module:
    """The network in evaluation mode with this share of its weights; normalisation has seen a batch."""
    net, draw = specimen.seeded(), torch.Generator().manual_seed(0)
    run(net.train(), specimen.seeded_batch(8)[0])
    for module in net.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.ndim > 1:
                parameter *= torch.rand(parameter.shape, generator=draw) < density
                if isinstance(module, nn.Embedding):
                    parameter[::2] = 0
    return net.eval()


def medians(nets: Sequence[nn.Module], x: Inputs, calls: int) -> list[float]:
    """The median seconds of a call of each network; they take turns."""
    times: list[list[float]] = [[] for _ in nets]
    for _ in range(calls):
        for net, taken in zip(nets, times, strict=True):
            started = time.perf_counter()
            run(net, x)
            taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


def layer_row(time: LayerTime) -> list[str]:
    """Name, class, microseconds of both forms, and what was chosen."""
    micro = ["–" if seconds is None else f"{1e6 * seconds:,.0f}" for seconds in (time.dense, time.sparse)]
    return [time.name, time.kind, str(time.batch_size), *micro, time.form, time.why]


@torch.no_grad()
def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of networks (default: all)")
    parser.add_argument("--density", type=float, default=0.05, help="share of the weights that stay (default: 0.05)")
    parser.add_argument("--calls", type=int, default=20, help="timed calls of each whole network (default: 20)")
    parser.add_argument("--layers", action="store_true", help="print the table of layers of each network too")
    arguments = parser.parse_args(given)
    warnings.simplefilter("ignore")
    totals = []
    for specimen in specimens(*arguments.names):
        net, (x, _) = sparse(specimen, arguments.density), specimen.seeded_batch(max(BATCHES))
        fast = sparsify_runtime(net, BATCHES, example=x)
        assert fast.report is not None
        if arguments.layers:
            columns = ["layer", "class", "batch", "dense µs", "sparse µs", "chosen", "why not measured"]
            print_table(specimen.name, columns, [layer_row(time) for time in fast.report.layers])
        for batch, whole in zip(BATCHES, fast.report.networks, strict=True):
            before, after = medians([net, fast], rows(x, slice(batch)), arguments.calls)
            count, here = fast.report.sparse_layers(whole), fast.report.layers_at(whole)
            micro = [f"{1e6 * seconds:,.0f}" for seconds in (before, after)]
            totals.append([specimen.name, str(batch), f"{count} of {len(here)}", *micro, f"{before / after:.2f}x"])
    columns = ["network", "batch", "sparse layers", "dense µs", "with sparse layers µs", "faster"]
    print_table(f"{100 * arguments.density:g} % of the weights, {torch.get_num_threads()} thread(s)", columns, totals)


if __name__ == "__main__":
    main()
