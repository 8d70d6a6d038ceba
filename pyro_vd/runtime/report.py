"""What a runtime does with each layer, and the times that it was chosen by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from pyro_vd._core.shown import Row, Shown, as_plain

DENSE = "dense"


@dataclass(frozen=True)
class LayerTime:
    """A layer at one batch size.

    Attributes:
        name: its name in the network.
        kind: the class of the layer.
        batch_size: the number of examples.
        dense: seconds as it is; None where it was not measured.
        sparse: seconds in its fastest sparse form; None where it was not measured.
        form: ``dense``, or the sparse form that was chosen.
        why: why it was not measured; empty where it was.
    """

    name: str
    kind: str
    batch_size: int
    dense: float | None = None
    sparse: float | None = None
    form: str = DENSE
    why: str = ""

    def __str__(self) -> str:
        times = " against ".join("–" if t is None else f"{1e6 * t:,.0f} µs" for t in (self.dense, self.sparse))
        return f"{self.name or 'the network'} ({self.kind}): {self.form}; {self.why or f'{times} sparse'}"


@dataclass(frozen=True)
class NetworkTime:
    """The whole network at one batch size.

    Attributes:
        batch_size: the number of examples.
        dense: seconds as it is.
        sparse: seconds with its sparse layers; None where no layer is faster.
        is_sparse: whether it runs with them.
        why: why not, where another reason than the time decided.
    """

    batch_size: int
    dense: float
    sparse: float | None
    is_sparse: bool
    why: str = ""

    def __str__(self) -> str:
        parts = [
            f"at a batch of {self.batch_size}: {'sparse' if self.is_sparse else DENSE}",
            f"{1e6 * self.dense:,.0f} µs dense",
        ]
        parts += [] if self.sparse is None else [f"{1e6 * self.sparse:,.0f} µs with sparse layers"]
        return "; ".join((*parts, self.why) if self.why else parts)


Choice = tuple[nn.Module, list[LayerTime], NetworkTime]
"""The form of a network for one batch size, with the times of its layers and its own."""


@dataclass(frozen=True)
class RuntimeReport(Shown):
    """Which layers of a network run as sparse matrices, and which do not; ``str`` lists them.

    Attributes:
        layers: each layer that has a sparse form, at each batch size.
        networks: the whole network at each batch size.
        others: how many layers with weights have no sparse form, by class.
        threads: the CPU threads of torch that it was measured with.
    """

    layers: tuple[LayerTime, ...]
    networks: tuple[NetworkTime, ...]
    others: dict[str, int]
    threads: int

    def _rows(self) -> Sequence[Row]:
        return [as_plain(layer) for layer in self.layers]

    def _notes(self) -> Sequence[str]:
        return [self.summary()]

    def layers_at(self, whole: NetworkTime) -> list[LayerTime]:
        """The layers at the batch size of a whole network."""
        return [layer for layer in self.layers if layer.batch_size == whole.batch_size]

    def sparse_layers(self, whole: NetworkTime) -> int:
        """How many layers run sparse in a whole network; none where it stays dense."""
        return sum(layer.form != DENSE for layer in self.layers_at(whole)) if whole.is_sparse else 0

    def summary(self) -> str:
        """One line: how many layers run sparse at each batch size, and what stays dense."""
        parts = []
        for whole in self.networks:
            counts = f"{self.sparse_layers(whole)} of {len(self.layers_at(whole))}"
            parts.append(f"{counts} layers at a batch of {whole.batch_size}")
        others = ", ".join(f"{count} {kind}" for kind, count in self.others.items())
        return f"sparse: {'; '.join(parts)}" + (f"; always dense: {others}" if others else "")

    def __str__(self) -> str:
        lines = []
        for whole in self.networks:
            lines.append(str(whole))
            lines += [f"  {layer}" for layer in self.layers_at(whole)]
        return "\n".join(lines)
