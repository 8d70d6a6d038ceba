"""Strategies of hypothesis: random networks with random zeros, as modules that torch.fx can follow and some that it cannot."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from network_parts import fill_at_random, layers_for
from random_network import ONE, TROUBLE, TWO, UNDERSTOOD, RandomNetwork, Step, carry_out
from torch import Tensor, nn

COMMON: Any = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("fast", **COMMON, max_examples=100, derandomize=True)
settings.register_profile("long", **COMMON, max_examples=2000)
settings.load_profile(os.environ.get("PYRO_VD_HYPOTHESIS", "fast"))


def examples(number: int) -> settings:
    """So many examples in the fast profile, and 20 times as many in the long one (``PYRO_VD_HYPOTHESIS=long``)."""
    return settings(max_examples=number * settings.default.max_examples // 100)


@dataclass(frozen=True)
class Case:
    """A network in evaluation mode, float64, and the shape of an example; ``troubled`` where tracing may refuse it."""

    net: nn.Module
    shape: tuple[int, ...]
    troubled: bool = False

    def batch(self, number: int, seed: int = 0) -> Tensor:
        """A batch of random inputs, of the type of the network's weights."""
        tensors = (*self.net.parameters(), *self.net.buffers(), torch.zeros((), dtype=torch.float64))
        like = next(tensor for tensor in tensors if tensor.is_floating_point())
        return 2 * torch.randn(number, *self.shape, generator=torch.Generator().manual_seed(seed)).to(like.dtype)


@st.composite
def networks(draw: st.DrawFn, trouble: bool = True, classes: int = 0) -> Case:
    """Random networks for random inputs; ``classes`` for outputs ``(batch, classes)``, no ``trouble`` for traceable ones."""
    shape = draw(st.sampled_from([(4,), (6,), (1,), (4, 4, 4), (2, 4, 4), (1, 3, 5)]))
    chain, plain = draw(st.integers(0, 4)) == 0, draw(st.integers(0, 2)) > 0
    net, values, troubled = RandomNetwork([], {}), [torch.zeros(2, *shape)], False
    choices = [*["layer"] * 5, *["two"] * 4, *["one"] * 3, *["again"] * 3 * (not plain), *["trouble"] * (trouble and not plain)]

    def add(does: str, *reads: int) -> None:
        step = Step(does, reads)
        with torch.no_grad():
            values.append(carry_out(net, step, values))
        net.steps = (*net.steps, step)

    for _ in range(draw(st.integers(3, 10))):
        last = len(values) - 1
        read = last if chain or draw(st.integers(0, 2)) else draw(st.integers(0, last))
        match "layer" if chain or last < 2 else draw(st.sampled_from(choices)):
            case "layer":
                net.add_module(name := f"part{len(net.steps)}", draw(layers_for(values[read].shape[1:], plain)))
                add(name, read)
            case "again":
                _reuse(draw, net, values, read, add)
            case "one":
                fitting = [kind for kind, (dims, _) in ONE.items() if _allowed(dims, values[read].ndim - 1)]
                add(draw(st.sampled_from([kind for kind in UNDERSTOOD if kind in fitting] if plain else fitting)), read)
            case "two":
                pairs = [(kind, i) for i, value in enumerate(values) for kind in TWO if _fit(kind, values[read], value)]
                alike = [(kind, i) for kind, i in pairs if i != read and values[i].shape == values[read].shape]
                kind, other = draw(
                    st.sampled_from([pair for pair in alike if pair[0] != "concatenation"] or pairs if plain else pairs)
                )
                add(kind, read, other)
            case _:
                troubled = True
                add(draw(st.sampled_from(list(TROUBLE))), read)
    if classes or draw(st.integers(0, 3)):
        net.add_module("flat", nn.Flatten())
        add("flat", len(values) - 1)
        net.add_module("last", nn.Linear(values[-1].shape[1], classes or 2))
        add("last", len(values) - 1)
    parts = dict(draw(st.permutations(list(net._modules.items()))))
    whole = nn.Sequential(*net.children()) if chain else RandomNetwork(net.steps, parts)  # type: ignore[arg-type]
    fill_at_random(draw, whole)
    return Case(whole.eval().double(), shape, troubled)


def _allowed(dims: int, ndim: int) -> bool:
    return ndim >= dims if dims > 0 else ndim == -dims


def _fit(kind: str, a: Tensor, b: Tensor) -> bool:
    if kind == "concatenation":
        return a.ndim == b.ndim and a.shape[2:] == b.shape[2:]
    if kind.endswith("in place"):
        return a.shape == b.shape and a.data_ptr() != b.data_ptr() and a.is_contiguous()
    return a.ndim == b.ndim and all(m == n or 1 in (m, n) for m, n in zip(a.shape, b.shape, strict=True))


def _reuse(draw: st.DrawFn, net: RandomNetwork, values: list[Tensor], read: int, add: Callable[..., None]) -> None:
    """Run a module again on values of the shape that it takes, itself or as a new one with the same weight."""
    fitting = [
        step.does
        for step in net.steps
        if step.does in net._modules and values[step.reads[0]].shape == values[read].shape and len(step.reads) == 1
    ]
    if not fitting:
        add("twice", read)
        return
    part = net.get_submodule(draw(st.sampled_from(fitting)))
    name = next(key for key, module in net._modules.items() if module is part)
    if isinstance(part, nn.Linear) and draw(st.booleans()):
        twin = nn.Linear(part.in_features, part.out_features)
        twin.weight = part.weight
        net.add_module(name := f"part{len(net.steps)}", twin)
    add(name, read)
