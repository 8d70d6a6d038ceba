"""A recurrent cell: which of its hidden units are always 0, and what each of them depends on, after any number of steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.labels import along, core, varying
from pyro_vd.compaction.rules_elementwise import joined_labels
from pyro_vd.compaction.values import Value

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
_CANDIDATE = {"lstm": 2, "gru": 2, "rnn_tanh": 0, "rnn_relu": 0}
"""The gate whose zero keeps a unit at its first state, 0."""


@dataclass(frozen=True)
class CellWeights:
    """The parameters of a cell; ``projection`` ``(outputs, cells)`` makes the outputs of an LSTM with ``proj_size``."""

    inputs: Value
    outputs: Value
    biases: list[Value]
    projection: Value | None = None

    @property
    def all(self) -> list[Value]:
        """All of them."""
        return [self.inputs, self.outputs, *self.biases, *([] if self.projection is None else [self.projection])]


class Cell:
    """One direction of one recurrent layer, or one call of a cell.

    The cells are what a step passes on to the next one: the memory of an LSTM. The outputs are what the other cells read at the
    next step. Both are the same units, except in an LSTM with ``proj_size``.

    Attributes:
        outputs: ``(outputs,)``; 0 is known of those that are always 0.
        cells: ``(cells,)``, the same for what the step passes on.
    """

    def __init__(
        self, analysis: Analysis, node: fx.Node, kind: str, weights: CellWeights, inputs: Value, states: list[Value]
    ) -> None:
        self._analysis, self._node, self._gates = analysis, node, _GATES[kind]
        width = weights.inputs.shape[0] // self._gates
        cells = analysis.labels.new(width)
        outputs = cells if weights.projection is None else analysis.labels.new(weights.projection.shape[0])
        self._link(weights, inputs.labels, cells, outputs)
        first, memory = states[0], states[-1]
        self._meet(outputs, first)
        if memory is not first:
            self._meet(cells, memory)
        of_inputs = self._by_gate(weights.inputs) & (inputs.constant != 0)
        of_outputs = self._by_gate(weights.outputs)
        biases = torch.zeros(self._gates, width, dtype=torch.bool)
        for bias in weights.biases:
            biases = biases | self._by_gate(bias)
        made = _entries(weights.projection) if weights.projection is not None else torch.eye(width, dtype=torch.bool)
        candidate = _CANDIDATE[kind]
        still = ~of_inputs[candidate].any(1) & ~biases[candidate] & _is_zero(memory)
        silent = _is_zero(first)
        while True:  # a cell that reads only silent outputs is silent, and an output of silent cells
            fewer = silent & ~(made & ~still).any(1)
            less = still & ~(of_outputs[candidate] & ~fewer).any(1)
            if torch.equal(fewer, silent) and torch.equal(less, still):
                break
            silent, still = fewer, less
        reads_inputs = of_inputs.any(0) & ~still[:, None]
        reads_outputs = of_outputs.any(0) & ~still[:, None] & ~silent
        if kind == "gru":  # its states are its outputs
            reads_outputs = reads_outputs | (torch.eye(width, dtype=torch.bool) & ~still)
        made = made & ~silent[:, None] & ~still
        before = _closed(reads_outputs, made)
        passed = memory.flow_along(-1) if memory is not first else torch.zeros(())
        own = self._watched(cells, reads_inputs.float() @ inputs.flow + passed + analysis.root)
        earlier = self._watched(outputs, first.flow_along(-1) + analysis.root)
        marks = before.float() @ (own + reads_outputs.float() @ earlier)
        zero = torch.zeros((), dtype=torch.float64)
        self.cells: Value = Value(cells, marks, zero.where(still, torch.nan))
        self.outputs: Value = Value(outputs, made.float() @ marks, zero.where(silent, torch.nan))

    def _link(self, weights: CellWeights, inputs: Tensor, cells: Tensor, outputs: Tensor) -> None:
        """Unite the places of the parameters with the units."""
        places = self._analysis.places
        partners = {id(weights.inputs): inputs, id(weights.outputs): outputs, id(weights.projection): cells}
        for weight in weights.all:
            for place, index in weight.sources.items():
                axes = varying(index)
                if axes == {0}:
                    of_gates = core(index).flatten().reshape(1 if weight is weights.projection else self._gates, -1)
                    alone = places.link(place, of_gates, outputs if weight is weights.projection else cells)
                    self._analysis.hold(None, alone)
                elif axes == {1}:
                    self._analysis.hold(None, places.link(place, core(index).flatten(), partners[id(weight)]))

    def _meet(self, labels: Tensor, state: Value) -> None:
        """Unite units with those of the state that they start from."""
        shape, axis = state.shape, len(state.shape) - 1
        own = Value(along(labels, axis, shape), self._analysis.root.expand(shape))
        joined_labels(self._analysis, self._node, [own, state], shape)

    def _by_gate(self, weight: Value) -> Tensor:
        """``(gates, cells, …)``, mask of the entries that are not zero."""
        return _entries(weight).unflatten(0, (self._gates, -1))

    def _watched(self, labels: Tensor, marks: Tensor) -> Tensor:
        watched: Value = self._analysis.watched(Value(labels, marks))
        return watched.flow


def _entries(weight: Value) -> Tensor:
    entries: Tensor = weight.concrete.detach().cpu() != 0  # type: ignore[union-attr]
    return entries


def _is_zero(state: Value) -> Tensor:
    """``(units,)``, mask of those that start at 0 in every example."""
    zero = core(state.constant) == 0
    return zero.reshape(-1, zero.shape[-1]).all(0).expand(state.shape[-1])


def _closed(reads_outputs: Tensor, made: Tensor) -> Tensor:
    """``(cells, cells)``, which cells each of them depends on after any number of steps."""
    before = (reads_outputs.float() @ made.float() > 0) | torch.eye(len(reads_outputs), dtype=torch.bool)
    while not torch.equal(further := (before.float() @ before.float()) > 0, before):
        before = further
    return before
