"""Recurrent layers and cells: hidden units that are always zero or that nobody reads go, with all of their gates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyro_vd import compact, load_pruned, save_pruned
from pyro_vd.compaction import ShrinkPlan, apply_plan, shrink_plan

INPUTS, HIDDEN = 5, 8
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


class Sequence(nn.Module):
    """A recurrent layer, and a linear layer over what ``read`` takes from its results."""

    def __init__(self, layer: nn.Module, read: Callable[[Any, Any], Tensor], width: int) -> None:
        super().__init__()
        self.recurrent, self.out, self.read = layer, nn.Linear(width, 2), read

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.read(*self.recurrent(x)))


class Loop(nn.Module):
    """A cell of PyTorch that is called step by step, from zeros that are made in one of several ways."""

    def __init__(self, kind: str, start: str) -> None:
        super().__init__()
        self.cell = getattr(nn, f"{kind}Cell")(INPUTS, HIDDEN)
        self.out, self.hidden, self.start = nn.Linear(HIDDEN, 2), HIDDEN, start

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        if self.start == "attribute":
            state = torch.zeros(len(x), self.hidden, dtype=x.dtype)
        elif self.start == "new_zeros":
            state = x.new_zeros(x.shape[0], self.hidden)
        is_lstm = isinstance(self.cell, nn.LSTMCell)
        state = (state, state) if is_lstm and state is not None else state
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.out(state[0] if is_lstm else state)


class Own(nn.Module):
    """A recurrence of linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.reads, self.keeps = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, HIDDEN, bias=False)
        self.out, self.width = nn.Linear(HIDDEN, 2), HIDDEN

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(len(x), self.width)
        for t in range(x.shape[1]):
            h = torch.tanh(self.reads(x[:, t]) + self.keeps(h))
        return self.out(h)


@torch.no_grad()
def silence(layer: nn.Module, units: list[int], gates: int, suffix: str = "") -> None:
    """Set all weights and biases of all gates of hidden units to zero."""
    for name, parameter in layer.named_parameters():
        if name.startswith(("weight_ih", "weight_hh", "bias_ih", "bias_hh")) and name.endswith(suffix):
            parameter.unflatten(0, (gates, -1))[:, units] = 0


@torch.no_grad()
def check(net: nn.Module, *shapes: tuple[int, int], steps: int = 4) -> Any:
    """The compact network: the same function, a plan that makes it from its description, and nothing more to do."""
    net.double().eval()
    x = torch.randn(3, steps, INPUTS).double()
    small, plan = compact(net, x), shrink_plan(net, x)
    for n, length in ((3, steps), (1, 1), (5, 2 * steps + 3), *shapes):
        x = torch.randn(n, length, INPUTS).double()
        torch.testing.assert_close(small(x), net(x), rtol=1e-10, atol=1e-10)
    saved = ShrinkPlan.from_json(json.loads(json.dumps(plan.to_json())))
    for other in (apply_plan(net, saved), compact(small, torch.randn(3, steps, INPUTS).double())):
        assert repr(other) == repr(small)
        assert {k: t.tolist() for k, t in other.state_dict().items()} == {k: t.tolist() for k, t in small.state_dict().items()}
    return small


def last(outputs: Tensor, _: Any) -> Tensor:
    return outputs[:, -1]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_projected_lstm(layers: int, bidirectional: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    width = 4 * (1 + bidirectional)

    def made() -> Any:
        lstm = nn.LSTM(INPUTS, HIDDEN, layers, proj_size=4, batch_first=True, bidirectional=bidirectional)
        return Sequence(lstm, last, width)

    net = made()
    silence(net.recurrent, [1, 6], 4)
    with torch.no_grad():
        for name, parameter in net.recurrent.named_parameters():
            if name.startswith("weight_hr"):
                parameter[2] = 0
                parameter[:, 3] = 0  # nobody reads cell 3
    small = check(net)
    assert (small.recurrent.hidden_size, small.recurrent.proj_size) == (HIDDEN - 3, 3)
    save_pruned(small, tmp_path / "net", layout="sparse")
    again: Any = load_pruned(tmp_path / "net", made().double())
    x = torch.randn(2, 6, INPUTS).double()
    assert (again.recurrent.hidden_size, again.recurrent.proj_size) == (HIDDEN - 3, 3)
    assert torch.equal(again(x), small(x))


def test_a_projected_lstm_keeps_more_cells_than_outputs() -> None:
    """PyTorch takes one with as many of both for an LSTM without a projection."""
    torch.manual_seed(0)
    net: Any = Sequence(nn.LSTM(INPUTS, HIDDEN, proj_size=4, batch_first=True), last, 4)
    silence(net.recurrent, [0, 1, 2, 5, 6, 7], 4)
    small = check(net)
    assert (small.recurrent.hidden_size, small.recurrent.proj_size) == (5, 4)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("what", ["outputs", "last states", "states of all layers"])
def test_layers_in_both_directions(kind: str, what: str) -> None:
    torch.manual_seed(0)
    layer = getattr(nn, kind)(INPUTS, HIDDEN, 2, batch_first=True, bidirectional=True)

    def hidden(states: Any) -> Tensor:
        return states[0] if kind == "LSTM" else states

    read: dict[str, tuple[Callable[[Any, Any], Tensor], int]] = {
        "outputs": (lambda outputs, _: outputs.mean(1), 2 * HIDDEN),
        "last states": (lambda _, states: torch.cat([hidden(states)[-2], hidden(states)[-1]], -1), 2 * HIDDEN),
        "states of all layers": (lambda _, states: hidden(states).mean(0), HIDDEN),
    }
    net: Any = Sequence(layer, *read[what])
    for suffix, units in (("l0", [0, 1, 2]), ("l0_reverse", [1, 6, 7]), ("l1", [3, 4, 5, 6]), ("l1_reverse", [0, 1, 2])):
        silence(net.recurrent, units, GATES[kind], suffix)
    small = check(net)
    assert small.recurrent.hidden_size == (HIDDEN if what == "states of all layers" else HIDDEN - 3)


def test_a_decoder_starts_from_the_states_of_an_encoder() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = (nn.LSTM(INPUTS, HIDDEN, batch_first=True) for _ in range(2))
            self.out = nn.Linear(HIDDEN, 2)

        def forward(self, x: Tensor) -> Tensor:
            _, states = self.encoder(x)
            return self.out(self.decoder(x, states)[0])

    torch.manual_seed(0)
    net: Any = Both()
    silence(net.encoder, [1, 2], 4)
    silence(net.decoder, [1, 3], 4)  # unit 3 goes on from a state that is not zero
    small = check(net)
    assert (small.encoder.hidden_size, small.decoder.hidden_size) == (HIDDEN - 1, HIDDEN - 1)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("start", ["none", "attribute", "new_zeros"])
def test_cells_in_a_loop(kind: str, start: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net: Any = Loop(kind, start)
    silence(net.cell, [2, 5], GATES[kind])
    with torch.no_grad():  # nobody reads unit 6, or what only unit 6 reads
        net.out.weight[:, [6, 7]] = 0
        net.cell.weight_hh[:, 6] = 0
        net.cell.weight_hh.unflatten(0, (GATES[kind], -1))[:, [0, 1, 3, 4], 7] = 0
    for steps in (4, 1):
        small = check(net, steps=steps)
        assert small.cell.hidden_size == small.cell.weight_hh.shape[1] == small.out.in_features == HIDDEN - 4
    assert start == "none" or small.hidden == HIDDEN - 4
    save_pruned(small, tmp_path / "net")
    x = torch.randn(2, 6, INPUTS).double()
    assert torch.equal(load_pruned(tmp_path / "net", Loop(kind, start).double())(x), small(x))


class Feeding(nn.Module):
    """A decoder that reads its own outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.cell, self.out = nn.Linear(INPUTS, HIDDEN), nn.LSTMCell(4, HIDDEN), nn.Linear(HIDDEN, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x[:, 0])
        c, y, outputs = torch.zeros_like(h), x.new_zeros(len(x), 4), []
        for _ in range(x.shape[1]):
            h, c = self.cell(y, (h, c))
            y = self.out(h)
            outputs.append(y)
        return torch.stack(outputs, 1)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_decoder_that_reads_its_own_outputs(steps: int) -> None:
    torch.manual_seed(0)
    net = Feeding()
    silence(net.cell, [1, 2], 4)
    with torch.no_grad():
        net.first.weight[2] = net.first.bias[2] = 0  # unit 1 begins with another number, which is read once
        net.out.weight[:, [1, 4]] = net.cell.weight_hh[:, 4] = 0
    assert check(net, steps=steps).cell.hidden_size == HIDDEN - 2


def test_a_recurrence_of_linear_layers() -> None:
    torch.manual_seed(0)
    net = Own()
    with torch.no_grad():
        net.reads.weight[[2, 5]] = net.keeps.weight[[2, 5]] = 0
        net.reads.bias[[2, 5]] = 0
        net.out.weight[:, 6] = net.keeps.weight[:, 6] = 0
    small = check(net)
    assert (small.reads.out_features, small.keeps.in_features, small.width) == (HIDDEN - 3,) * 3


@pytest.mark.parametrize("make", [Own, lambda: Loop("GRU", "none"), lambda: Loop("RNN", "new_zeros")])
def test_what_only_longer_sequences_show_stays(make: Callable[[], Any]) -> None:
    """Unit 0 reads the input, 1 reads 0, 2 reads 1, and the output reads 2: two steps do not show that 0 matters."""
    torch.manual_seed(0)
    net = make()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        own = isinstance(net, Own)
        reads, keeps = (net.reads.weight, net.keeps.weight) if own else (net.cell.weight_ih, net.cell.weight_hh)
        reads[-HIDDEN, 0] = 1
        keeps[-HIDDEN + 1, 0] = keeps[-HIDDEN + 2, 1] = net.out.weight[0, 2] = 1
    for steps in (1, 2, 5):
        (*_, out) = check(net, steps=steps).modules()
        assert out.in_features == 3


def test_a_state_that_is_given_or_of_a_fixed_size_stays() -> None:
    class Fixed(Loop):
        def forward(self, x: Tensor) -> Tensor:
            h = torch.zeros(len(x), 8, dtype=x.dtype)
            for t in range(x.shape[1]):
                h = self.cell(x[:, t], h)
            return self.out(h)

    net: Any = Fixed("GRU", "none")
    del net.hidden
    silence(net.cell, [2, 5], 3)
    assert check(net).cell.hidden_size == HIDDEN
