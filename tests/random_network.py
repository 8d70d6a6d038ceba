"""A network that runs a list of steps, and its operations: those that compaction understands, others, and trouble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import assume
from torch import Tensor, nn

Forward = Callable[["RandomNetwork", Tensor], Tensor]

ONE: dict[str, tuple[int, Forward]] = {  # fewest dimensions of an example (or −1, for only 1), and what is done
    "relu": (1, lambda net, h: torch.relu(h)),
    "relu in place": (1, lambda net, h: F.relu(h, inplace=True)),
    "twice": (1, lambda net, h: 2 * h),
    "shifted": (1, lambda net, h: h + 0.5),
    "times its own sigmoid": (1, lambda net, h: h * h.sigmoid()),
    "square": (1, lambda net, h: h * h),
    "divided by a constant": (1, lambda net, h: h / 3),
    "functional dropout": (1, lambda net, h: F.dropout(h, 0.5, net.training)),
    "first half": (1, lambda net, h: h[:, : (h.shape[1] + 1) // 2]),
    "without the first": (1, lambda net, h: torch.cat([h[:, 1:], h[:, :1].sigmoid()], 1)),
    "first part": (1, lambda net, h: h.chunk(2, 1)[0]),
    "tanh": (1, lambda net, h: h.tanh()),
    "softmax": (1, lambda net, h: h.softmax(1)),
    "flipped": (1, lambda net, h: h.flip(1)),
    "divided by its width": (1, lambda net, h: h / h.shape[1]),
    "plus the size of the batch": (1, lambda net, h: h + h.shape[0]),
    "with a channel in front": (-1, lambda net, h: h.unsqueeze(1)),
    "view": (1, lambda net, h: h.view(h.size(0), -1)),
    "flatten": (1, lambda net, h: torch.flatten(h, 1)),
    "mean": (3, lambda net, h: h.mean((2, 3))),
    "transposed": (3, lambda net, h: h.transpose(1, 2)),
    "max pooling": (3, lambda net, h: F.max_pool2d(h, 2, 1, 1)),
    "average pooling": (3, lambda net, h: F.avg_pool2d(h, 2, 1, 1)),
    "mean by channel": (3, lambda net, h: F.adaptive_avg_pool2d(h, 1)),
}
UNDERSTOOD = (
    *("relu", *["relu in place"] * 5, "twice", "shifted", "times its own sigmoid", "square", "divided by a constant"),
    *("functional dropout", "flatten", "max pooling", "average pooling", "mean by channel"),
)
"""Those that compaction passes units through; all others hold the units that they read."""
TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda a, b: a + b,
    "sum by function": lambda a, b: torch.add(a, b, alpha=2),
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
    "quotient": lambda a, b: a / (b.sigmoid() + 1),
    "sum in place": lambda a, b: a.__iadd__(b),
    "product in place": lambda a, b: a.__imul__(b),
    "concatenation": lambda a, b: torch.cat([a, b], 1),
}


def _set_item(net: RandomNetwork, h: Tensor) -> Tensor:
    h = h.clone()
    h[:, 0] = 1
    return h


TROUBLE: dict[str, Forward] = {
    "choice by value": lambda net, h: h if h.sum() > 0 else -h,
    "a number of the values": lambda net, h: h * float(h.mean()),
    "a choice by a size": lambda net, h: h if h.shape[1] > 2 else h + 1,
    "times the width of a layer": lambda net, h: h * net.width,
    "a choice by the width of a layer": lambda net, h: h if net.width % 2 else -h,
    "assignment": _set_item,
    "a choice by type": lambda net, h: h if isinstance(h, Tensor) else h + 1,
}
"""What tracing cannot follow, or what depends on the sizes of layers."""


@dataclass(frozen=True)
class Step:
    """One line of a forward pass: the operation or the module's name, and which earlier values it reads (0 is the input)."""

    does: str
    reads: tuple[int, ...]


class RandomNetwork(nn.Module):
    """Runs its steps in order and gives the last value; its modules are registered in the order in which they are given."""

    def __init__(self, steps: Sequence[Step], parts: dict[str, nn.Module]) -> None:
        super().__init__()
        self.steps = tuple(steps)
        for name, part in parts.items():
            self.add_module(name, part)

    @property
    def width(self) -> int:
        """Outputs of the first layer that has any."""
        sizes = (getattr(part, "out_features", getattr(part, "out_channels", 0)) for part in self.children())
        return next(filter(None, sizes), 1)

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for step in self.steps:
            values.append(carry_out(self, step, values))
        return values[-1]

    def extra_repr(self) -> str:
        return "\n".join(f"h{index} = {step.does} of {step.reads}" for index, step in enumerate(self.steps, 1))


def carry_out(net: RandomNetwork, step: Step, values: Sequence[Tensor]) -> Tensor:
    """The value of a step, from the values before it."""
    inputs = [values[index] for index in step.reads]
    if step.does in net._modules:
        result: Tensor = getattr(net, step.does)(*inputs)
        return result
    if step.does in TWO:
        return TWO[step.does](*inputs)
    return (TROUBLE[step.does] if step.does in TROUBLE else ONE[step.does][1])(net, *inputs)


@torch.no_grad()
def magnitude(net: nn.Module, x: Tensor) -> float:
    """The largest number on the way of a batch: rounding errors of the outputs are relative to it."""
    values = [x.clone()]
    if isinstance(net, RandomNetwork):
        for step in net.steps:
            values.append(carry_out(net, step, values))
    else:
        for module in net.children():
            values.append(module(values[-1]))
    largest = max(float(value.abs().max()) for value in values)
    assume(largest < 1e30)  # nothing is promised where activations are not finite
    return largest
