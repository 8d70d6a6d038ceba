"""What is put in the place of a leaf of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def nested(levels: int) -> Any:
    tree: Any = 0
    for _ in range(levels):
        tree = [tree]
    return tree


def repeated() -> Any:
    """A list of 10¹⁵ numbers, of lists that are met again."""
    tree: Any = [0]
    for _ in range(15):
        tree = [tree] * 10
    return tree


def wrong_for(value: Any) -> Iterator[Any]:
    """Values of another form, each of which is to be refused."""
    yield from (torch.zeros(1, 1, 1, 1), torch.zeros(3, device="meta"), nested(200), repeated(), b"x", [[{}]])
    if value is not None:
        yield None
    if not isinstance(value, str):
        yield "x"
    if isinstance(value, bool):
        yield 7
    elif isinstance(value, int | float):
        yield from (float("nan"), True)
    if isinstance(value, dict | list):
        yield from (-7, [[1]])
    if isinstance(value, Tensor):
        yield from (
            value.double(),
            value.to(torch.int8),
            value.flatten()[:0],
            value.unsqueeze(0),
            value.expand(2, *value.shape),
        )
        yield torch.zeros(1, dtype=value.dtype).expand(10**12)
        if value.is_floating_point():
            yield from (torch.full_like(value, x) for x in (torch.nan, torch.inf))
            yield from (value.to_sparse(), nn.Parameter(value), torch.complex(value.float(), value.float()))


def same_as(value: Any) -> Iterator[Any]:
    """Tensors of the same numbers in other places of the memory: in other orders, and beside others."""
    if isinstance(value, Tensor) and value.numel():
        yield torch.stack([value, value], -1)[..., 0]
        yield value.movedim(0, -1).contiguous().movedim(-1, 0) if value.ndim else value.clone()
        yield torch.cat([value.flatten(), torch.zeros(9, dtype=value.dtype)])[: value.numel()].view_as(value)


def other_than(value: Any) -> Iterator[Any]:
    """Values of the same form, taken or refused: in memory that they share with themselves, negated views, extreme numbers."""
    if isinstance(value, Tensor):
        yield from (torch.ones((), dtype=value.dtype).expand_as(value), value.clone().fill_(1))
        if value.ndim:
            size = value.numel() + 9
            yield torch.ones(size, dtype=value.dtype).as_strided(value.shape, (1,) * value.ndim)
        if value.is_floating_point():
            yield from (torch.complex(value, -value).conj().imag, -value - 1, value + 1e30, value * 0)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from (-1, 0, 10**30, -1e300, 0.5, float("inf"))
    elif isinstance(value, dict):
        yield {**value, "more": 3}
    elif isinstance(value, list) and value:
        yield from (value[:-1], [*value, value[-1]])
