"""Where a network has recurrent layers, gradients on their way back are zero, not denormal; all else is computed as ever."""

from __future__ import annotations

import copy
import multiprocessing
import struct
import sys
import threading
from collections.abc import Callable
from unittest.mock import patch

import pyro
import pytest
import torch
from denormal_support import is_flushed, num_denormal
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, fit
from pyro_vd.inference.vanishing_gradients import without_denormals

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


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> int:
    torch.set_num_threads(request.param)  # the next test has one again
    return int(request.param)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("train", [by_fit, by_elbo, by_svi, by_particles])
@pytest.mark.parametrize("recurrent", [nn.LSTM, nn.GRUCell, None], ids=["LSTM", "GRUCell", "none"])
def test_gradients_that_vanish(train: Callable[[VariationalDropout], None], recurrent: type[nn.Module] | None) -> None:
    guide, net = made(recurrent)
    train(guide)
    assert len(net.gradients) >= 15
    assert (num_denormal(net.gradients) == 0) == (recurrent is not None)
    assert not is_flushed()


@pytest.mark.usefixtures("threads")
def test_the_state_is_put_back() -> None:
    guide, net = made(nn.LSTM)
    net.linear.register_full_backward_hook(lambda *_: (_ for _ in ()).throw(ArithmeticError))
    with pytest.raises(ArithmeticError):
        by_elbo(guide)
    assert not is_flushed()
    torch.set_flush_denormal(True)
    try:
        without_denormals(guide.model, X, lambda: without_denormals(guide.model, X, list))
        assert is_flushed()
    finally:
        torch.set_flush_denormal(False)


class Checkpointed(nn.Module):
    """A recurrent layer whose forward pass runs again in the backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.linear = nn.LSTM(3, 3), nn.Linear(3, 2)
        self.threads: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(checkpoint(self.first, x, use_reentrant=False)).mean(1)

    def first(self, x: Tensor) -> Tensor:
        self.threads.append(threading.get_ident())
        return torch.tanh(self.lstm(x)[0])


def test_a_forward_pass_runs_again_in_the_backward_pass(threads: int) -> None:
    """With the same noise."""
    torch.manual_seed(0)
    guide = VariationalDropout(BayesianNetwork(Checkpointed(), num_data=20))
    plain = copy.deepcopy(guide)
    fit(guide, (X, Y), epochs=2, progress=False)
    (net,) = (module for module in guide.model.modules() if isinstance(module, Checkpointed))
    assert any(each != threading.get_ident() for each in net.threads) == (threads > 1)
    with patch.object(sys.modules[__name__], "checkpoint", lambda function, x, **_: function(x)):
        fit(plain, (X, Y), epochs=2, progress=False)
    for one, other in zip(guide.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.usefixtures("threads")
def test_a_hook_calls_what_the_training_has_reserved() -> None:
    guide, net = made(nn.LSTM)
    losses: list[float] = []
    net.linear.register_full_backward_hook(lambda *_: losses.append(VariationalDropoutELBO().loss(guide.model, guide, X, Y)))
    training = threading.Thread(target=by_fit, args=(guide,), daemon=True)  # one that waits for ever must fail this test alone
    training.start()
    training.join(60)
    assert len(losses) >= 2
    assert not training.is_alive()


def test_it_runs_on_as_many_threads_as_the_caller_has() -> None:
    found: list[int] = []
    torch.set_num_threads(3)
    other = threading.Thread(target=torch.set_num_threads, args=(1,))  # of all threads that begin later
    other.start()
    other.join()
    without_denormals(made(nn.LSTM)[0].model, X, lambda: found.append(torch.get_num_threads()))
    assert found == [3]


def products() -> Tensor:
    """The products of denormal numbers and 1, which all threads of torch compute."""
    return torch.frombuffer(bytearray(struct.pack("f", 1e-40)) * (1 << 20), dtype=torch.float32) * 1


def check_threads() -> None:
    torch.set_num_threads(4)
    assert (products() != 0).all()  # begins the threads
    guide, found = made(nn.LSTM)[0], list[Tensor]()
    without_denormals(guide.model, X, lambda: found.append(products()))
    assert (found[0] == 0).all()
    by_elbo(guide)
    assert (products() != 0).all()


def test_all_threads_of_a_backward_pass_and_no_others() -> None:
    """In a new process, in which torch has not begun its threads."""
    process = multiprocessing.get_context("spawn").Process(target=check_threads)
    process.start()
    process.join(60)
    assert process.exitcode == 0
