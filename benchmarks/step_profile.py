"""Where the time of a training step goes: the operations of the deterministic step and of ours, by kind.

Run ``python benchmarks/step_profile.py`` for its table, on one thread. An operation counts without the ones that it calls, and
those of the KL and of σ² = exp(log σ²) count as one. The time of the whole step is that of the thread without the profiler,
which makes operations slower: they may add up to more.
"""

from __future__ import annotations

import statistics
import time
from unittest.mock import patch

import torch
from step_contenders import Step, deterministic, ours
from step_networks import SETTINGS, Setting
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from pyro_vd.distributions.closed_form import ClosedForm

NETWORKS = ("784-300-10", "784-300-100-10", "3x1024")
KINDS = {
    "products": ("mm", "addmm", "bmm", "baddbmm", "linear"),
    "Adam": ("_fused_adam_", "_foreach_add_"),
    "normal draws": ("normal_", "randn", "randn_like"),
}
KL, OTHER = "KL and σ²", "other operations"


def kind_of(operation: str) -> str:
    """The kind of an operation of torch, such as ``aten::mm``."""
    name = operation.removeprefix("aten::")
    return next((kind for kind, names in KINDS.items() if name in names), OTHER)


def shares(step: Step, setting: Setting) -> dict[str, float]:
    """Milliseconds of a step by kind of operation; for one thread."""
    x, y = setting.batch(torch.device("cpu"))
    rounds = setting.rounds
    for _ in range(20):
        step(x, y)
    whole = []
    for _ in range(rounds):
        started = time.thread_time()
        step(x, y)
        whole.append(1e3 * (time.thread_time() - started))
    recorded = {name: record_function(KL)(getattr(ClosedForm, name)) for name in ("__init__", "finish")}
    with patch.multiple(ClosedForm, **recorded), profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(rounds):
            step(x, y)
    times = dict.fromkeys((*KINDS, KL, OTHER), 0.0)
    for event in found.events():
        if event.name.startswith("aten::"):
            times[KL if _is_of_kl(event) else kind_of(event.name)] += event.self_cpu_time_total / 1e3 / rounds
    return times | {"step": statistics.median(whole)}


def _is_of_kl(event: FunctionEvent) -> bool:
    caller = event.cpu_parent
    return caller is not None and (caller.name == KL or _is_of_kl(caller))


def profile_table() -> str:
    """The table as Markdown: milliseconds of a step on one thread."""
    torch.set_num_threads(1)
    kinds = [*KINDS, KL, OTHER, "step"]
    lines = [["network", "step of", *kinds], ["---", "---", *("---:" for _ in kinds)]]
    for name in NETWORKS:
        setting = SETTINGS[name]
        for who, make in (("deterministic network", lambda net: deterministic(net, fused=True)), ("pyro_vd", ours)):
            found = shares(make(setting.make()), setting)
            lines.append([name, who, *(f"{found[kind]:.2f}" for kind in kinds)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(profile_table())
