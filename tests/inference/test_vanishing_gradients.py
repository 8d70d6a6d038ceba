"""Where a network has recurrent layers, gradients on their way back are zero, not denormal; all else is computed as ever."""

from __future__ import annotations

import multiprocessing
import struct
from collections.abc import Callable

import pyro
import pytest
import torch
from denormal_support import is_flushed, num_denormal
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, fit
from pyro_vd.inference.vanishing_gradients import vanishing_gradients_flushed

X, Y = torch.randn(20, 6, 3, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2


class Net(nn.Module):
    """A recurrent layer, or none, and 15 factors of 1/1,000, which keep their gradients.

    ``(0 + 1e-45).log()`` is what some libraries write for the logarithm of a mask.
    """

    def __init__(self, recurrent: type[nn.Module] | None) -> None:
        super().__init__()
        self.recurrent = None if recurrent is None else recurrent(3, 3)
        self.linear = nn.Linear(3, 2)
        self.gradients: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean(1) if self.recurrent is None else x[:, 0] + _output(self.recurrent(x[:, 0]))
        y = h = self.linear(x)
        for _ in range(15):
            h = 1e-3 * h
            if h.requires_grad:
                h.register_hook(lambda gradient: self.gradients.append(gradient.clone()))
        return y + h - (torch.zeros(2) + 1e-45).log()


def _output(found: Tensor | tuple[Tensor, ...]) -> Tensor:
    return found[0] if isinstance(found, tuple) else found


def made(recurrent: type[nn.Module] | None) -> tuple[VariationalDropout, Net]:
    torch.manual_seed(0)
    guide = VariationalDropout(BayesianNetwork(Net(recurrent), num_data=20))
    (net,) = (module for module in guide.model.modules() if isinstance(module, Net))
    return guide, net


def by_fit(guide: VariationalDropout) -> None:
    result = fit(guide, (X, Y), epochs=2, progress=False)
    assert result.skipped == 0


def by_elbo(guide: VariationalDropout) -> None:
    assert VariationalDropoutELBO().backward(guide.model, guide, X, Y).isfinite()


def by_svi(guide: VariationalDropout) -> None:
    pyro.clear_param_store()
    pyro.infer.SVI(guide.model, guide, pyro.optim.Adam({"lr": 1e-3}), VariationalDropoutELBO()).step(X, Y)


def by_particles(guide: VariationalDropout) -> None:
    VariationalDropoutELBO(num_particles=2).backward(guide.model, guide, X, Y)


@pytest.mark.parametrize("train", [by_fit, by_elbo, by_svi, by_particles])
@pytest.mark.parametrize("recurrent", [nn.LSTM, nn.GRUCell, None], ids=["LSTM", "GRUCell", "none"])
def test_gradients_that_vanish(train: Callable[[VariationalDropout], None], recurrent: type[nn.Module] | None) -> None:
    guide, net = made(recurrent)
    train(guide)
    assert len(net.gradients) >= 15
    assert (num_denormal(net.gradients) == 0) == (recurrent is not None)
    assert not is_flushed()


def test_the_state_is_put_back() -> None:
    guide, net = made(nn.LSTM)
    net.linear.register_full_backward_hook(lambda *_: (_ for _ in ()).throw(ArithmeticError))
    with pytest.raises(ArithmeticError):
        by_elbo(guide)
    assert not is_flushed()
    torch.set_flush_denormal(True)
    try:
        with vanishing_gradients_flushed(guide.model), vanishing_gradients_flushed(guide.model):
            assert is_flushed()
        assert is_flushed()
    finally:
        torch.set_flush_denormal(False)


def check_threads() -> None:
    torch.set_num_threads(4)
    by_elbo(made(nn.LSTM)[0])
    numbers = torch.frombuffer(bytearray(struct.pack("f", 1e-40)) * (1 << 17), dtype=torch.float32)
    assert not (numbers * 1 == 0).any()


def test_other_threads_stay_as_they_are() -> None:
    """In a new process, in which torch has not begun its threads."""
    process = multiprocessing.get_context("spawn").Process(target=check_threads)
    process.start()
    process.join()
    assert process.exitcode == 0
