"""Recurrent layers and their cells: matrices that are used at every time step, and so are drawn once per forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.nn.utils.rnn import PackedSequence

from pyro_vd.networks.layer_kind import Axes, FixedUnitsKind, Place


class RecurrentKind(FixedUnitsKind):
    """``nn.RNN``, ``nn.LSTM`` and ``nn.GRU``: the matrices of all layers and directions, with all gates as outputs."""

    modules: tuple[type[nn.Module], ...] = (nn.RNN, nn.LSTM, nn.GRU)
    sizes: tuple[str, str] = ("input_size", "hidden_size")

    def weights(self, layer: Any) -> dict[str, Axes]:
        return {name: ("out", "in") for name in layer._flat_weights_names if name.startswith("weight")}

    def unit_places(self, layer: nn.Module) -> dict[str, tuple[Place, Place]]:
        parts = [name.removeprefix("weight_ih_") for name in self.weights(layer) if name.startswith("weight_ih_")]
        return {part: ((f"weight_ih_{part}", 1), (f"weight_hh_{part}", 1)) for part in parts}

    def applications(self, layer: Any, name: str, inputs: Sequence[Any], output: Any) -> int:
        given = inputs[0].data if isinstance(inputs[0], PackedSequence) else inputs[0]
        return given.numel() // layer.input_size

    def take_sizes(self, layer: Any) -> None:
        weight_ih, weight_hh = (getattr(layer, name) for name in list(self.weights(layer))[:2])
        layer.input_size = weight_ih.shape[1]
        if getattr(layer, "proj_size", 0):
            layer.hidden_size, layer.proj_size = weight_ih.shape[0] // 4, weight_hh.shape[1]
        else:
            layer.hidden_size = weight_hh.shape[1]


class RecurrentCellKind(RecurrentKind):
    """``nn.RNNCell``, ``nn.LSTMCell`` and ``nn.GRUCell``."""

    modules: tuple[type[nn.Module], ...] = (nn.RNNCell, nn.LSTMCell, nn.GRUCell)

    def weights(self, layer: Any) -> dict[str, Axes]:
        return {"weight_ih": ("out", "in"), "weight_hh": ("out", "in")}

    def unit_places(self, layer: nn.Module) -> dict[str, tuple[Place, Place]]:
        return {"": (("weight_ih", 1), ("weight_hh", 1))}
