"""``nn.RNN`` in ONNX: its operator ``RNN`` for each layer. PyTorch's exporter knows those for LSTM and GRU only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from onnxscript import opset18
from onnxscript.function_libs.torch_lib.tensor_typing import TFloat

_op: Any = opset18


def rnn_translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The table for ``torch.onnx.export(custom_translation_table=…)``."""
    return {torch.ops.aten.rnn_tanh.input: _translation("Tanh"), torch.ops.aten.rnn_relu.input: _translation("Relu")}


def _translation(activation: str) -> Callable[..., Any]:
    # The exporter reads this signature; it is that of the operations of PyTorch.
    def translated(
        x: TFloat,
        hidden: TFloat,
        weights: Sequence[TFloat],
        has_biases: bool,
        layers: int,
        dropout: float,
        training: bool,
        bidirectional: bool,
        batch_first: bool,
    ) -> tuple[TFloat, TFloat]:
        return _rnn(activation, x, hidden, weights, has_biases, layers, bidirectional, batch_first)

    return translated


def _rnn(
    activation: str,
    x: Any,
    hidden: Any,
    weights: Sequence[Any],
    has_biases: bool,
    layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Any, Any]:
    """The outputs and last states; the operator wants ``(steps, n, features)``, and directions in dimension 0 of weights."""
    directions, each = 1 + bidirectional, 2 + 2 * has_biases
    h, states = _op.Transpose(x, perm=[1, 0, 2]) if batch_first else x, []
    for layer in range(layers):
        first = layer * directions
        parts = [weights[k * each : (k + 1) * each] for k in range(first, first + directions)]
        matrices = (_stacked([part[place] for part in parts]) for place in (0, 1))
        biases = [_stacked([_op.Concat(*part[2:], axis=0) for part in parts])] if has_biases else []
        outputs, state = _op.RNN(
            h,
            *matrices,
            *biases,
            initial_h=_op.Slice(hidden, [first], [first + directions], axes=[0]),
            activations=[activation] * directions,
            direction="bidirectional" if bidirectional else "forward",
            hidden_size=hidden.shape[2],
        )
        h = _op.Reshape(_op.Transpose(outputs, perm=[0, 2, 1, 3]), _op.Constant(value_ints=[0, 0, -1]))
        states.append(state)
    return (_op.Transpose(h, perm=[1, 0, 2]) if batch_first else h), _op.Concat(*states, axis=0)


def _stacked(values: Sequence[Any]) -> Any:
    return _op.Concat(*(_op.Unsqueeze(value, [0]) for value in values), axis=0)
