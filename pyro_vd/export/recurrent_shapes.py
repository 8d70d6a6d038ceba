"""Recurrent layers in an exported graph: one operation each, for sequences of any length."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch._decomp import decomposition_table

_aten = torch.ops.aten
_OPERATIONS = (_aten.lstm.input, _aten.gru.input, _aten.rnn_tanh.input, _aten.rnn_relu.input)
_KEYS = (torch._C.DispatchKey.CompositeImplicitAutograd, torch._C.DispatchKey.Autograd)


@contextmanager
def whole_recurrent_layers() -> Iterator[None]:
    """Let the exporter find the shapes of the outputs of recurrent layers without running them step by step.

    The operations that it then writes are those of eager mode, ``aten::lstm`` and so on. Without this it runs PyTorch's
    decomposition of them, a Python loop over the steps, which fixes the length of the sequence. PyTorch's own
    ``torch.export._patches.register_lstm_while_loop_decomposition`` replaces it in the same way, by a loop in the graph.
    """
    before = [dict(operation.py_kernels) for operation in _OPERATIONS]
    table: dict[Any, Callable[..., Any]] = {key: decomposition_table[key] for key in _OPERATIONS if key in decomposition_table}
    with warnings.catch_warnings():
        # The list of its own parameters that nn.LSTM keeps; the graph has the parameters themselves.
        warnings.filterwarnings("ignore", r"The tensor attributes? .*_flat_weights", UserWarning)
        for operation in _OPERATIONS:
            operation.py_kernels.update(dict.fromkeys(_KEYS, _blank_outputs))
            operation._dispatch_cache.clear()
        for operation in table:  # tensors without values take these first
            decomposition_table[operation] = _blank_outputs
        try:
            yield
        finally:
            decomposition_table.update(table)
            for operation, kernels in zip(_OPERATIONS, before, strict=True):
                operation.py_kernels.clear()
                operation.py_kernels.update(kernels)
                operation._dispatch_cache.clear()


def _blank_outputs(
    x: Tensor,
    hidden: Any,
    weights: Any,
    biases: bool,
    layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    first: bool,
) -> tuple[Tensor, ...]:
    """Outputs and last states of a recurrent layer, with the right shapes and no values."""
    states = [hidden] if isinstance(hidden, Tensor) else list(hidden)
    return x.new_empty(*x.shape[:-1], states[0].shape[-1] * (1 + bidirectional)), *map(torch.empty_like, states)
