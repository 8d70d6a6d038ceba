"""What was published of the networks in the measured results, what was to be reached, and whether it was."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_vd.networks.layers import named_weights
from pyro_vd.workflow.finished_run import run_pruned

PUBLISHED = {
    "lenet-300-100": "1.92 % error, 68.0x, sparsity 98.9 97.2 62.0 (Molchanov 2017, table 1), without augmentation",
    "lenet-300-100-plain": "1.92 % error at 68x (Molchanov 2017); 114x at about 2.2 % (OLMP 2018)",
    "structured-lenet-300-100": "97-71-33 at 1.6 % error (VIBNet, Dai 2018), 311-86-14 at 1.8 % (Bayesian compression, Louizos "
    "2017); of 784-500-300, 245-160-55 at 1.55 % (structured Bayesian pruning, Neklyudov 2017), without augmentation",
    "lenet5": "0.75 % error at 280x (Molchanov 2017); 298x (OLMP 2018); 310x without a drop (AutoPrune 2019)",
    "structured-lenet5": "5-10-76-16 at 1.0 % error, 158,000 multiplications (group horseshoe, Louizos 2017); 3-18-284-283 at "
    "0.86 % (structured Bayesian pruning, Neklyudov 2017)",
    "imdb-lstm": "15.9 % error at 1,208x (Chirkova 2018, 1,000 epochs)",
    "imdb-lstm-small": "16.7 % error at 19,499x, with a pruned vocabulary (Chirkova 2018, 1,000 epochs)",
}


@dataclass(frozen=True)
class Goal:
    """The error that the mean over seeds must not exceed, and the size.

    Attributes:
        error: a share.
        compression: the least; 0 where ``units`` says the size.
        units: of a LeNet-5, the most filters of both convolutions and inputs of both linear layers.
        multiplications: the most per example, which is half of the FLOPs; 0 sets no limit.
    """

    error: float
    compression: float = 0.0
    units: tuple[int, ...] = ()
    multiplications: int = 0

    def __str__(self) -> str:
        sizes = [f"at least {self.compression:,.0f}x"] if self.compression else []
        sizes += [f"no wider than {'-'.join(map(str, self.units))}"] if self.units else []
        sizes += [f"at most {self.multiplications:,} multiplications"] if self.multiplications else []
        return f"{', '.join(sizes)} at no more than {100 * self.error:.2f} % error"

    def shortfalls(self, runs: list[dict[str, Any]], folders: list[Path]) -> list[str]:
        """What the runs miss, in words; empty where they reach it."""
        pruned = [run["networks"]["pruned"] for run in runs]
        error, compression = (statistics.mean(net[key] for net in pruned) for key in ("error", "compression"))
        missed = [f"the error is {100 * error:.2f} %"] if error > self.error else []
        missed += [f"the compression is {compression:,.0f}x"] if compression < self.compression else []
        if self.units:
            found = [left_units(folder) for folder in folders]
            widest = tuple(map(max, zip(*found, strict=True)))
            wider = any(width > most for width, most in zip(widest, self.units, strict=True))
            missed += [f"the widest of the networks is {'-'.join(map(str, widest))}"] if wider else []
        flops = max(run["compact"]["flops"] for run in runs)
        over = self.multiplications and flops > 2 * self.multiplications
        return [*missed, *([f"{flops // 2:,} multiplications are needed"] if over else [])]


GOALS = {
    "lenet-300-100": Goal(0.0145, 120),
    "lenet-300-100-plain": Goal(0.0192, 115),
    "lenet5": Goal(0.0075, 350),
    "structured-lenet5": Goal(0.009, units=(5, 10, 76, 16), multiplications=158_000),
    "imdb-lstm": Goal(0.155, 1300),
    "imdb-lstm-small": Goal(0.165, 20_000),
}


def left_units(folder: Path) -> tuple[int, ...]:
    """Filters of the convolutions of a pruned LeNet-5 that are read, and the inputs that each linear layer reads."""
    weights = [weight for name, weight in named_weights(run_pruned(folder)) if name]
    read = [int(weight.transpose(0, 1).flatten(1).any(1).sum()) for weight in weights if weight.shape[1] > 1]
    own = [weight for weight in weights if weight.ndim == 4 and weight.shape[1] == 1 and len(weight) == 50]
    scaled = int(own[0].flatten(1).any(1).sum()) if own else read[-2]
    return (read[0], scaled, *read[1:])


def verdict(recipe: str, runs: list[dict[str, Any]], folders: list[Path]) -> list[str]:
    """The published figures, and the goal with what is missing, as lines of text."""
    lines = [f"Published: {PUBLISHED[recipe]}."] if recipe in PUBLISHED else []
    if goal := GOALS.get(recipe):
        missed = goal.shortfalls(runs, folders)
        lines.append(f"Goal: {goal}: {'not reached, ' + ' and '.join(missed) if missed else 'reached'}.")
    return lines
