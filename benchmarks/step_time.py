"""Time of one training step at batch 100: ours beside other ways to write it, interleaved in one process.

Every contender takes the same steps: loss, gradients, Adam. Run ``python benchmarks/step_time.py --net lenet5``, or
``--table docs/step-time.md --threads 1 2`` for all networks. On one thread, times are those that the thread had a processor,
which other programs change less than those of the clock.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import pyro
import torch
from pyro.infer import TraceMeanField_ELBO
from step_contenders import (
    Step,
    StockGuide,
    deterministic,
    deterministic_compiled,
    notebook,
    of_peer,
    ours,
    ours_compiled,
    with_pyro,
)
from step_networks import BATCH, SETTINGS, Setting
from step_peers import installed
from step_profile import profile_table
from torch import nn

from pyro_vd import VariationalDropoutELBO

OURS, ONCE, NOTEBOOK = "pyro_vd", "pyro_vd, weights drawn once", "plain PyTorch, the notebook's way"
BASE = "deterministic network, fused Adam"
INTRODUCTION = """# Time of a training step

Written by `python benchmarks/step_time.py --table docs/step-time.md --threads 1 2 --compile`; the libraries of others come
with `pip install --group peers`. A batch has 100 examples. All contenders take turns in one process, a step each, and medians
are shown: the time of the deterministic step (the same network, fused Adam) in milliseconds, and those of all others as
multiples of it. On one thread it is the time of the processor, on two that of the clock.

`pyro_vd` is the step of `fit`, without its guard, with the approximate KL; "elbo(model, guide) and backward()" is an own loop,
whose KL is left to autograd. A dash stands for a library, or the notebook, that has no layers for the network.
bayesian-torch, torchbnn and blitz draw every weight once per batch, which takes one product per layer and gives gradients of a
higher variance; "pyro_vd, weights drawn once" does the same (`BayesianNetwork(net, shared=…)`). cplxmodule draws the outputs,
as pyro_vd and the notebook do.

"compiled" is a step of `fit(…, compile=True)`, which needs a C++ compiler on the CPU and takes no LSTM; one column shows what a
compiler does for the deterministic step.
"""
PROFILE = """## Where the time goes

Milliseconds of the operations of one step by kind, on one thread, by `python benchmarks/step_profile.py`. The KL, its gradient
and σ² = exp(log σ²) count as one. An operation counts without those that it calls; what is missing to the step is Python's
part and Pyro's. The profiler makes operations slower, so that they may add up to more.

Means and variances need a product each, so that products take twice as long as those of the deterministic step, and Adam has
twice the parameters. The rest of the difference is the KL, which reads or writes eight numbers per weight, most of them in main
memory or a slow cache, and in small networks Python: a compiled step has less of both. Where products are quick and memory is
slow, as on the processor of these tables, the ratios are larger than elsewhere.

"""


def contenders(setting: Setting, device: torch.device, brief: bool, compiled: bool = False) -> dict[str, Step]:
    """The steps by name; ``brief`` leaves out those that the table of the documentation does not show."""

    def made() -> nn.Module:
        return setting.make().to(device)

    found: dict[str, Step | None] = {
        OURS: ours(made()),
        "pyro_vd, exact KL": ours(made(), kl="exact"),
        ONCE: ours(made(), drawn_once=True),
        "pyro_vd, elbo(model, guide) and backward()": with_pyro(made(), VariationalDropoutELBO()),
    }
    is_recurrent = any(isinstance(module, nn.RNNBase) for module in made().modules())
    if not is_recurrent:
        found[NOTEBOOK] = notebook(made(), fused=False)
    if not brief:
        if NOTEBOOK in found:
            found["plain PyTorch, the notebook's way, fused Adam"] = notebook(made(), fused=True)
        found["TraceMeanField_ELBO, sampled weights"] = with_pyro(made(), TraceMeanField_ELBO(), StockGuide)
        found["the same with pyro_vd's KL"] = with_pyro(made(), TraceMeanField_ELBO())
        found["deterministic network"] = deterministic(made(), fused=False)
    found |= {name: of_peer(name, made()) for name in installed()}
    if compiled and not is_recurrent:
        x, y = setting.batch(device)
        found["pyro_vd, compiled"] = ours_compiled(made(), x, y)
        if not brief:
            found["pyro_vd, compiled, bf16-mixed"] = ours_compiled(made(), x, y, "bf16-mixed")
        found["deterministic network, fused Adam, compiled"] = deterministic_compiled(made(), device)
    found[BASE] = deterministic(made(), fused=True)
    return {name: step for name, step in found.items() if step is not None}


def measured(steps: dict[str, Step], setting: Setting, device: torch.device, rounds: int) -> dict[str, float]:
    """Median seconds of a step of each contender; on a GPU a round is ten steps."""
    on_gpu = device.type == "cuda"
    clock = time.thread_time if torch.get_num_threads() == 1 and not on_gpu else time.perf_counter
    number, untimed, (x, y) = 10 if on_gpu else 1, min(20, rounds), setting.batch(device)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + untimed):
        for name, step in steps.items():
            started = clock()
            for _ in range(number):
                step(x, y)
            if on_gpu:
                torch.cuda.synchronize()
            if round_ >= untimed:
                times[name].append((clock() - started) / number)
    return {name: statistics.median(values) for name, values in times.items()}


def table(threads: int, most: int | None, compiled: bool) -> str:
    """The table of the documentation, as Markdown: times as multiples of that of the deterministic step.

    Args:
        threads: of torch.
        most: the largest number of rounds; None for those of the setting.
        compiled: with columns of compiled steps.
    """
    torch.set_num_threads(threads)
    cpu, rows = torch.device("cpu"), {}
    for name, setting in SETTINGS.items():
        rounds = min(setting.rounds, most or setting.rounds)
        rows[name] = measured(contenders(setting, cpu, brief=True, compiled=compiled), setting, cpu, rounds)
    columns = [name for name in rows["784-300-10"] if name != BASE]
    lines = [["network", f"{BASE}, ms", *columns], ["---", *("---:" for _ in range(len(columns) + 1))]]
    for name, row in rows.items():
        ratios = [f"{row[each] / row[BASE]:.2f}" if each in row else "–" for each in columns]
        lines.append([name, f"{1e3 * row[BASE]:.2f}", *ratios])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=SETTINGS, default="784-300-10", help="the network (default: 784-300-10)")
    parser.add_argument("--rounds", type=int, help="timed steps of each contender (default: fewer of large networks)")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1], help="threads of torch, one number or several (default: 1)"
    )
    parser.add_argument("--compile", action="store_true", help="with compiled steps too")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; on a GPU a round is ten steps (default: cpu)")
    parser.add_argument("--table", type=Path, help="a file for tables of all networks")
    arguments = parser.parse_args()
    pyro.set_rng_seed(0)
    if arguments.table is not None:
        tables = [
            f"## {n} thread{'s' * (n > 1)}\n\n{table(n, arguments.rounds, arguments.compile)}\n" for n in arguments.threads
        ]
        arguments.table.write_text("\n".join([INTRODUCTION, *tables, PROFILE + profile_table() + "\n"]))
        return
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        setting, device = SETTINGS[arguments.net], torch.device(arguments.device)
        rounds = arguments.rounds or setting.rounds
        steps = contenders(setting, device, brief=False, compiled=arguments.compile)
        medians = measured(steps, setting, device, rounds)
        print(f"{arguments.net}, {device}, batch {BATCH}, {threads} thread(s), median of {rounds} steps")
        for name, median in medians.items():
            ratios = f"{median / medians[BASE]:6.2f} of deterministic{medians[OURS] / median:9.2f} = pyro_vd / this"
            print(f"{name:45}{1e3 * median:8.2f} ms{ratios}")


if __name__ == "__main__":
    main()
