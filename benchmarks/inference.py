"""How fast a pruned network runs in each form, and how large it is: side by side, interleaved, in one process.

Run ``python benchmarks/inference.py RUN``, RUN the folder of a finished ``pyro-vd train``, or several of them, with
``--table docs/inference.md`` for the page of the documentation. ``dense`` is its network before pruning. ONNX Runtime and
OpenVINO are left out where they are not installed, and the forms of a multilayer perceptron alone, CSR throughout and the
sparse products of SciPy and MKL, where the network is another one. On one thread the time is that of the processor, which other
programs lengthen little; on several it is that of the clock.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from inference_anchors import HAVE_ONNX, anchors
from inference_page import Measured, Times, page
from inference_stand_in import NOTE, stand_in
from torch import Tensor, nn

from pyro_vd import InputError, compact, load_run, posterior_mean, save_pruned
from pyro_vd.data.dataset import Arrays
from pyro_vd.evaluation.predictors import outputs
from pyro_vd.export.formats import FORMATS
from pyro_vd.networks.flops import network_cost
from pyro_vd.networks.layers import widths
from pyro_vd.runtime import sparsify_runtime
from pyro_vd.runtime.csr import CSRNetwork, linear_steps
from pyro_vd.workflow.finished_run import run_pruned
from pyro_vd.workflow.run_folder import POSTERIOR
from pyro_vd.workflow.tables import print_table

SIZE_COLUMNS = ("network", "units", "parameters", "non-zero weights", "nominal FLOPs", "effective FLOPs")
FILE_COLUMNS = ("file", "bytes", "% of dense", "smaller", "wrong on the test data")
BATCHES = (1, 16, 64, 256, 1024)
TURN, WARM, SLOW = 10, 2, 0.02
"""Calls of a network in its turn, and those before that are not timed: of networks that take seconds, one and none."""
PAUSE = 0.005
"""Seconds after which threads of OpenMP and ONNX Runtime, which spin on after a call, have left the next network its core."""


def is_chain(net: nn.Module) -> bool:
    """Whether a network is a multilayer perceptron."""
    try:
        linear_steps(net)
    except InputError:
        return False
    return True


def forms(dense: nn.Module, masked: nn.Module, x: Tensor, onnx: Path | None) -> dict[str, nn.Module]:
    """The networks to compare; the chosen one and those of other runtimes are for the present number of threads.

    ``masked`` holds its pruned weights as zeros, ``chosen`` is what ``sparsify_runtime(compact(masked))`` gives, and ``onnx``
    is a file of the compact network.
    """
    small, chain = compact(masked, x[:2]), is_chain(masked)
    nets = {"dense": dense, "masked": masked, "compact": small}
    if chain:
        nets |= {"CSR": CSRNetwork(masked), "compact CSR": CSRNetwork(small)}
    nets["chosen"] = sparsify_runtime(small, BATCHES, example=None if chain else x[: BATCHES[-1]])
    return nets | anchors(small, chain, onnx)


def wrong(net: nn.Module, data: Arrays) -> str:
    """Wrong predictions of how many."""
    x, y = data
    return f"{int((outputs(net, x).argmax(-1) != y).sum())} of {len(y)}"


def size_row(name: str, net: nn.Module, x: Tensor) -> list[str]:
    """Units, parameters, non-zero weights, and floating-point operations: nominal, and with weights that are not zero."""
    cost = network_cost(net, x[:1])
    counts = (cost.parameters, cost.nonzero, cost.flops, cost.effective_flops)
    return [name, "-".join(map(str, widths(net))), *(f"{count:,}" for count in counts)]


def file_rows(dense: nn.Module, small: nn.Module, data: Arrays, folder: Path) -> list[list[str]]:
    """Bytes of the dense network and of the compact one in every format, and what each file, read back, gets wrong."""
    formats = {name: form for name, form in FORMATS.items() if name != "onnx" or HAVE_ONNX}
    paths = {name: folder / f"net{form.suffix}" for name, form in formats.items()}
    for name, form in formats.items():
        form.save(small, paths[name], data[0][:7], {})
    nets = {f"compact, {name}": (paths[name], form.loaded(paths[name], small)) for name, form in formats.items()}
    save_pruned(dense, first := folder / "dense.safetensors")
    whole = first.stat().st_size
    rows = []
    for name, (path, net) in {"dense, safetensors": (first, dense), **nets}.items():
        size = path.stat().st_size
        rows.append([name, f"{size:,}", f"{100 * size / whole:.2f}", f"{whole / size:.1f}x", wrong(net, data)])
    return rows


def latencies(
    nets: dict[str, nn.Module], x: Tensor, calls: int, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of every call. The networks take turns of some calls; the first, with another's caches, are not timed.

    Args:
        nets: the networks.
        x: their input.
        calls: of each network; fewer, but five, where that takes longer than ``seconds``.
        seconds: of all networks together.
        clock: that of the calls.
    """
    times: dict[str, list[float]] = {name: [] for name in nets}
    begun = time.perf_counter()
    while len(times["dense"]) < calls and (time.perf_counter() - begun < seconds or len(times["dense"]) < 5):
        for name, net in nets.items():
            time.sleep(PAUSE)
            is_slow = bool(times[name]) and times[name][-1] > SLOW
            for _ in range(0 if is_slow else WARM):
                net(x)
            for _ in range(1 if is_slow else TURN):
                started = clock()
                net(x)
                times[name].append(clock() - started)
    return times


def speed_rows(measured: dict[str, list[float]], batch: int) -> list[list[str]]:
    """Median and 99th percentile of the latency, throughput, and that as a multiple of the dense network's."""
    medians = {name: statistics.median(times) for name, times in measured.items()}
    return [
        [
            name,
            f"{1e6 * medians[name]:.1f}",
            f"{1e6 * statistics.quantiles(times, n=100)[98]:.1f}",
            f"{batch / medians[name]:,.0f}",
            f"{medians['dense'] / medians[name]:.2f}x",
        ]
        for name, times in measured.items()
    ]


@torch.inference_mode()
def measured(folder: Path, options: argparse.Namespace) -> Measured:
    """Measure a run, and print each table as it is there."""
    if (folder / POSTERIOR).exists():
        run = load_run(folder, options.data_dir)
        dense, masked, data, note = posterior_mean(run.guide).eval(), run_pruned(run.folder), run.data.test, ""
    else:
        (dense, masked, data), note = stand_in(folder, options.data_dir), NOTE
    x = data[0]
    small = compact(masked, x[:2])
    nets = {"dense": dense, "masked": masked, "compact": small}
    sizes = [size_row(*item, x) for item in nets.items()]
    print_table(f"{folder.name}: size; FLOPs of one example", SIZE_COLUMNS, sizes)
    times: dict[int, dict[int, Times]] = {}
    chosen: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as place:
        with torch.inference_mode(False):  # the exporters want ordinary tensors
            files = file_rows(dense, small, data, Path(place))
        print_table("files", FILE_COLUMNS, files)
        onnx = Path(place) / f"net{FORMATS['onnx'].suffix}" if HAVE_ONNX else None
        for threads in options.threads or sorted({1, os.cpu_count() or 1}):
            torch.set_num_threads(threads)
            nets = forms(dense, masked, x, onnx)
            chosen[threads] = nets["chosen"].extra_repr()
            if not times:
                rows = [[name, wrong(net, data)] for name, net in nets.items()]
                print_table("wrong on the test data", ["network", "wrong"], rows)
            for batch in BATCHES:
                clock = time.thread_time if threads == 1 else time.perf_counter
                found = latencies(nets, x[:batch].clone(), options.calls, options.seconds, clock)
                times.setdefault(threads, {})[batch] = found
                title = f"batch {batch}, {threads} thread(s), {len(found['dense'])} calls of dense"
                print_table(title, ["network", "median µs", "p99 µs", "examples/s", "dense / this"], speed_rows(found, batch))
            print(f"chosen: {chosen[threads]}", flush=True)
    return Measured(folder.name, note, (SIZE_COLUMNS, sizes), (FILE_COLUMNS, files), times, chosen)


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of finished runs")
    parser.add_argument("--calls", type=int, default=300, help="timed calls of each form at each batch size (default: 300)")
    parser.add_argument("--seconds", type=float, default=20, help="the most seconds for each table of times (default: 20)")
    parser.add_argument("--threads", type=int, nargs="+", help="numbers of threads (default: 1 and that of the cores)")
    parser.add_argument("--data-dir", type=Path, help="torchvision root (default: the recipe's)")
    parser.add_argument("--table", type=Path, help="a file for the page of the documentation; written after each run")
    options = parser.parse_args(given)
    found: list[Measured] = []
    for folder in options.runs:
        found.append(measured(folder, options))
        if options.table is not None:
            options.table.write_text(page(found))


if __name__ == "__main__":
    main()
