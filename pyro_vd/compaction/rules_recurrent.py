"""Rules for recurrent layers: a hidden unit is a row of all gates, and a column of the weight that reads the step before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.labels import core, varying
from pyro_vd.compaction.values import Value

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
_CANDIDATE = {"lstm": 2, "gru": 2, "rnn_tanh": 0, "rnn_relu": 0}
"""The gate whose zero keeps a unit at its first state, 0."""


def _recurrent(kind: str) -> Callable[[Analysis, fx.Node, Any, Any], Any]:
    def rule(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
        value, states, weights, has_biases, layers, _, _, bidirectional, _ = args
        states = states if isinstance(states, list) else [states]
        per_cell = len(weights) // (layers * (1 + bidirectional))
        projected = per_cell > (4 if has_biases else 2)
        if projected or any(part.concrete is None for part in weights) or any(state.has_units for state in states):
            return analysis.unknown(node, args, kwargs)
        starts_at_zero = all(state.concrete is not None and not bool(state.concrete.any()) for state in states)
        made = node.meta["val"]
        shape = made[0].shape
        inputs, numbers = analysis.units_along(value, -1, node)
        flow = value.flow.flatten(0, -2).sum(0)
        last: list[Cell] = []
        every: list[Tensor] = []
        for layer in range(layers):
            last = []
            for direction in range(1 + bidirectional):
                at = (layer * (1 + bidirectional) + direction) * per_cell
                cell = Cell(analysis, node, kind, weights[at : at + per_cell], inputs, numbers, flow, starts_at_zero)
                last.append(cell)
                every.append(cell.labels)
                if not starts_at_zero:
                    analysis.hold(node, cell.labels)
            inputs = torch.cat([cell.labels for cell in last])
            flow = torch.cat([cell.marks for cell in last])
            numbers = torch.cat([cell.numbers for cell in last])
        if len(every) > 1:  # a recurrent layer has one number of units
            analysis.equal_parts.append(every)
        output = Value(inputs.expand(shape), flow.expand(shape), numbers.expand(shape))
        finals = [_final(analysis, node, state.shape, last if layers == 1 else None, flow) for state in made[1:]]
        return [output, *finals]

    return rule


def _final(analysis: Analysis, node: fx.Node, shape: torch.Size, cells: list[Cell] | None, flow: Tensor) -> Value:
    """The last state, ``(layers · directions, batch, units)``, of a layer."""
    if cells is None:
        return Value(torch.full((), -1).expand(shape), flow.sum().expand(shape))
    labels = torch.stack([cell.labels for cell in cells])[:, None]
    marks = torch.stack([cell.marks for cell in cells])[:, None]
    return Value(labels.expand(shape), marks.expand(shape))


class Cell:
    """One direction of one recurrent layer.

    Attributes:
        labels: ``(units,)``, of the hidden units.
        marks: ``(units,)``, carries marks from the hidden units to the inputs.
        numbers: ``(units,)``, 0 for units that are always 0, NaN for the others.
    """

    def __init__(
        self,
        analysis: Analysis,
        node: fx.Node,
        kind: str,
        weights: list[Value],
        inputs: Tensor,
        known: Tensor,
        flow: Tensor,
        starts_at_zero: bool,
    ) -> None:
        gates = _GATES[kind]
        width = len(weights[0].shape) and weights[0].shape[0] // gates
        self.labels: Tensor = analysis.labels.new(width)
        for position, weight in enumerate(weights):
            for place, index in weight.sources.items():
                axes = varying(index)
                if axes == {0}:
                    analysis.places.link(place, core(index).flatten().reshape(gates, width), self.labels)
                elif axes == {1}:
                    partner = inputs if position == 0 else self.labels
                    analysis.hold(None, analysis.places.link(place, core(index).flatten(), partner))
        tensors = [part.concrete.detach().cpu() for part in weights]  # type: ignore[union-attr]
        nonzero = [(tensor != 0).unflatten(0, (gates, width)) for tensor in tensors]
        nonzero[0] = nonzero[0] & (known != 0)
        candidate = [part[_CANDIDATE[kind]] for part in nonzero]
        biases = torch.stack(candidate[2:]).any(0) if len(candidate) > 2 else torch.zeros(width, dtype=torch.bool)
        silent = ~candidate[0].any(1) & ~biases & starts_at_zero
        while True:  # a unit that reads only silent units is silent
            more = silent & ~(candidate[1] & ~silent).any(1)
            if torch.equal(more, silent):
                break
            silent = more
        self.numbers: Tensor = torch.zeros(width, dtype=torch.float64).where(silent, torch.nan)
        reads_inputs = nonzero[0].any(0) & ~silent[:, None]
        reads_units = nonzero[1].any(0) & ~silent[:, None] & ~silent
        before = reads_units | torch.eye(width, dtype=torch.bool)
        while not torch.equal(further := (before.float() @ before.float()) > 0, before):
            before = further
        units = _watched(analysis, self.labels, reads_inputs.to(flow.dtype) @ flow + analysis.root)
        self.marks: Tensor = before.to(flow.dtype) @ units


def _watched(analysis: Analysis, labels: Tensor, marks: Tensor) -> Tensor:
    watched: Value = analysis.watched(Value(labels, marks))
    return watched.flow


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {kind: _recurrent(kind) for kind in _GATES}
"""By the name of an operation."""
