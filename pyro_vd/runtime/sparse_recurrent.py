"""RNN, LSTM and GRU with CSR matrices: the products of the inputs of all steps at once, then the steps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd.runtime.csr_linear import CSRLinear
from pyro_vd.runtime.inputs import check_tensor


class SparseRecurrent(nn.Module):
    """A recurrent layer that takes and gives what ``nn.RNN``, ``nn.LSTM`` or ``nn.GRU`` does in evaluation mode.

    Args:
        layer: the layer; its weights are copied.
        hidden: whether the matrices of the hidden state, which run at every step, are CSR too.

    Raises:
        InputError: when called with a packed sequence.
    """

    def __init__(self, layer: nn.RNNBase, hidden: bool) -> None:
        super().__init__()
        self.is_lstm: bool = layer.mode == "LSTM"
        self.batch_first: bool = layer.batch_first
        endings = ("", "_reverse") if layer.bidirectional else ("",)
        self.layers: nn.ModuleList = nn.ModuleList(
            nn.ModuleList(_Direction(layer, f"_l{number}{ending}", hidden) for ending in endings)
            for number in range(layer.num_layers)
        )

    def forward(self, x: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        check_tensor(x)
        if x.ndim == 2:  # one example without a batch
            first = hx if hx is None else tuple(part[:, None] for part in hx) if self.is_lstm else hx[:, None]
            y, last = self(x[None] if self.batch_first else x[:, None], first)
            return y.squeeze(0 if self.batch_first else 1), tuple(part[:, 0] for part in last) if self.is_lstm else last[:, 0]
        h = x.permute(2, 1, 0) if self.batch_first else x.permute(2, 0, 1)  # (features, steps, n)
        states = None if hx is None else iter(zip(*(hx if self.is_lstm else (hx,)), strict=True))
        finals = []
        for directions in self.layers:
            outputs = []
            for reverse, direction in enumerate(directions.children()):
                state = None if states is None else tuple(part.t() for part in next(states))
                output, final = direction(h.flip(1) if reverse else h, state)
                outputs.append(output.flip(1) if reverse else output)
                finals.append(final)
            h = torch.cat(outputs)
        last = tuple(torch.stack([part.t() for part in parts]) for parts in zip(*finals, strict=True))
        return (h.permute(2, 1, 0) if self.batch_first else h.permute(1, 2, 0)).contiguous(), last if self.is_lstm else last[0]


class _Direction(nn.Module):
    """One direction of one layer, on ``(features, steps, n)``, with states ``(units, n)``."""

    def __init__(self, layer: nn.RNNBase, ending: str, hidden: bool) -> None:
        super().__init__()
        self.mode: str = layer.mode
        self.units: int = layer.hidden_size
        biases = (getattr(layer, f"bias_{name}{ending}", None) for name in ("ih", "hh"))
        self.input: CSRLinear = CSRLinear(getattr(layer, f"weight_ih{ending}"), next(biases), sparse=True)
        self.hidden: CSRLinear = CSRLinear(getattr(layer, f"weight_hh{ending}"), next(biases), sparse=hidden)
        projection = getattr(layer, f"weight_hr{ending}", None)
        self.projection: CSRLinear | None = None if projection is None else CSRLinear(projection, None, sparse=hidden)

    def forward(self, x: Tensor, state: tuple[Tensor, ...] | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        _, steps, n = x.shape
        if state is None:
            state = x.new_zeros(self.hidden.in_features, n), x.new_zeros(self.units, n)
            state = state if self.mode == "LSTM" else state[:1]
        products, multiply, outputs = self.input(x.flatten(1)).unflatten(1, (steps, n)), self.hidden.multiply, []
        for step in range(steps):
            state = self._step(products[:, step], multiply(state[0]), state)
            outputs.append(state[0])
        return torch.stack(outputs, 1), state

    def _step(self, given: Tensor, own: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The next state, from the products of the input and of the hidden state; the formulas are in PyTorch's manual."""
        if self.mode == "LSTM":
            i, f, g, o = (given + own).chunk(4)
            c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            return (h if self.projection is None else self.projection.multiply(h)), c
        if self.mode == "GRU":
            (r, z), n = (given[: 2 * self.units] + own[: 2 * self.units]).sigmoid().chunk(2), given[2 * self.units :]
            n = (n + r * own[2 * self.units :]).tanh()
            return (n + z * (state[0] - n),)
        both = given + own
        return (both.tanh() if self.mode == "RNN_TANH" else both.relu(),)
