"""Which examples of a batch one of several processes takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """The share of one of several processes in every batch; the shares of all of them are the batch, without overlap."""

    rank: int = 0
    """Number of the process, from 0 on."""
    size: int = 1
    """How many processes there are."""

    def part(self, n: int) -> slice:
        """The rows of a batch of ``n`` examples that this process takes; numbers of rows differ by one at most."""
        return slice(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def share(self, n: int) -> int:
        """The number of these rows, which may be 0."""
        part = self.part(n)
        return int(part.stop - part.start)


WHOLE = Shard()
"""Of a process that trains alone."""
