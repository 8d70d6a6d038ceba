"""The search for the compression at which something changes: the error rises too far, or the network is fast enough."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, TypeVar

FIRST, MOST = 4.0, 1024.0
"""The compression that is tried first, and the largest one."""
_HALVINGS = 2
"""How often the interval that holds the change, of a factor of 2, is halved in its logarithm."""


class HasTarget(Protocol):
    """What was tried, which says at which compression."""

    @property
    def target(self) -> float:
        """How many times smaller the file was to be."""


_T = TypeVar("_T", bound=HasTarget)


def boundary(try_at: Callable[[float], _T], changed: Callable[[_T], bool]) -> tuple[_T | None, _T | None]:
    """Return the largest compression that was tried before a change, and the smallest one after it; None where there is none.

    Compressions are doubled until the change; then the interval between the last two is halved.

    Args:
        try_at: trains for a compression.
        changed: whether the change has happened.
    """
    before: _T | None = None
    after: _T | None = None
    target = FIRST
    while after is None and target <= MOST:
        tried = try_at(target)
        target *= 2
        if changed(tried):
            after = tried
        else:
            before = tried
    for _ in range(_HALVINGS if after is not None else 0):
        assert after is not None
        tried = try_at(math.sqrt((1.0 if before is None else before.target) * after.target))
        if changed(tried):
            after = tried
        else:
            before = tried
    return before, after
