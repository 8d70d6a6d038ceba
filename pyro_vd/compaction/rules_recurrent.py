"""Rules for recurrent layers and cells: a hidden unit is a row of all gates, and a column of the weight that reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.labels import along
from pyro_vd.compaction.recurrent_cells import Cell, CellWeights
from pyro_vd.compaction.values import Value, joined

_KINDS = ("lstm", "gru", "rnn_tanh", "rnn_relu")


def _layers(kind: str) -> Callable[[Analysis, fx.Node, Any, Any], Any]:
    """The rule for a recurrent layer, or several: all cells have the same number of units."""

    def rule(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
        target: Any = node.target
        if target._overloadname != "input" or any(weight.concrete is None for weight in args[2]):
            return analysis.unknown(node, args, kwargs)
        value, states, weights, has_biases, layers, _, _, bidirectional, _ = args
        states, directions = states if isinstance(states, list) else [states], 1 + bidirectional
        per_cell = len(weights) // (layers * directions)
        inputs = _vector(analysis, node, value)
        cells: list[Cell] = []
        for layer in range(layers):
            for number in range(layer * directions, (layer + 1) * directions):
                own = _cell_weights(weights[number * per_cell : (number + 1) * per_cell], has_biases)
                starts = [_part(state, number) for state in states]
                cells.append(Cell(analysis, node, kind, own, inputs, starts))
            inputs = joined([cell.outputs for cell in cells[-directions:]], 0)
        of_outputs, of_cells = [cell.outputs for cell in cells], [cell.cells for cell in cells]
        if len(cells) > 1:
            analysis.equal_parts += [[units.labels for units in of_outputs], [units.labels for units in of_cells]]
        if per_cell > 2 + 2 * has_biases:
            analysis.wider += [(cell.cells.labels, cell.outputs.labels) for cell in cells]
        made = node.meta["val"]
        finals = [_stacked(units, state.shape) for units, state in zip((of_outputs, of_cells), made[1:], strict=False)]
        return [inputs.moved(lambda tensor: tensor.expand(made[0].shape)), *finals]

    return rule


def _cell(kind: str) -> Callable[[Analysis, fx.Node, Any, Any], Any]:
    """The rule for one step of a cell."""

    def rule(analysis: Analysis, node: fx.Node, args: Any, kwargs: Any) -> Any:
        value, states, *weights = args
        weights = [weight for weight in weights if weight is not None]
        if any(weight.concrete is None for weight in weights):
            return analysis.unknown(node, args, kwargs)
        states = states if isinstance(states, list) else [states]
        cell = Cell(analysis, node, kind, _cell_weights(weights, True), _vector(analysis, node, value), states)
        made = node.meta["val"]
        shape = made[0].shape if isinstance(made, tuple | list) else made.shape
        outputs, cells = (
            units.moved(lambda tensor: along(tensor, len(shape) - 1, shape)) for units in (cell.outputs, cell.cells)
        )
        return [outputs, cells] if isinstance(made, tuple | list) else outputs

    return rule


def _cell_weights(weights: list[Value], has_biases: bool) -> CellWeights:
    end = 4 if has_biases else 2
    return CellWeights(weights[0], weights[1], weights[2:end], *weights[end:])


def _vector(analysis: Analysis, node: fx.Node, value: Value) -> Value:
    """The units along the last axis."""
    labels, numbers = analysis.units_along(value, -1, node)
    return Value(labels, value.flow_along(-1), numbers)


def _part(state: Value, number: int) -> Value:
    """The state that one cell of several starts from."""
    return replace(state.moved(lambda tensor: tensor[number : number + 1]), filler=state.filler)


def _stacked(parts: list[Value], shape: torch.Size) -> Value:
    """The last states of several cells, ``(cells, batch, units)``."""

    def stacked(name: str) -> Tensor:
        return torch.stack([getattr(part, name) for part in parts])[:, None].expand(shape)

    return Value(stacked("labels"), stacked("flow"), stacked("constant"))


RULES: dict[str, Callable[[Analysis, fx.Node, Any, Any], Any]] = {
    **{kind: _layers(kind) for kind in _KINDS},
    **{f"{kind}_cell": _cell(kind) for kind in _KINDS},
}
"""By the name of an operation."""
