"""Sparse inference of any network: the same function, layers sparse where that is faster, and a report that says so."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd.networks.inputs import tensors_in
from pyro_vd.runtime import sparsify_runtime
from pyro_vd.runtime.sites import sites
from pyro_vd.runtime.sparse_runtime import SparseRuntime
from pyro_vd.runtime.substituting import substituted


def with_zeros(net: nn.Module, density: float = 0.3) -> nn.Module:
    """The network in evaluation mode with this share of its weights; an embedding also has rows of zeros."""
    with torch.no_grad():
        for module in net.modules():
            for parameter in module.parameters(recurse=False):
                if parameter.ndim > 1:
                    parameter *= torch.rand_like(parameter) < density
                    if isinstance(module, nn.Embedding):
                        parameter[::2] = 0
    return net.eval()


LAYERS: dict[str, tuple[Callable[[], nn.Module], list[tuple[int, ...]]]] = {
    "linear": (lambda: nn.Linear(6, 4), [(6,), (3, 6), (2, 5, 6), (0, 6)]),
    "linear without bias": (lambda: nn.Linear(6, 4, bias=False), [(3, 6)]),
    "pointwise 1d": (lambda: nn.Conv1d(6, 4, 1), [(3, 6, 7), (6, 7), (0, 6, 7)]),
    "pointwise 2d, strided": (lambda: nn.Conv2d(6, 4, 1, stride=(2, 3), bias=False), [(3, 6, 7, 8), (6, 7, 8)]),
    "pointwise 3d": (lambda: nn.Conv3d(6, 4, (1, 1, 1), padding="same"), [(2, 6, 3, 2, 2)]),
    "RNN": (lambda: nn.RNN(6, 4), [(5, 3, 6), (5, 6)]),
    "RNN with ReLU": (lambda: nn.RNN(6, 4, nonlinearity="relu", bias=False, batch_first=True), [(3, 5, 6)]),
    "LSTM": (lambda: nn.LSTM(6, 4, num_layers=2, bidirectional=True, batch_first=True), [(3, 5, 6), (5, 6)]),
    "projected LSTM": (lambda: nn.LSTM(6, 4, num_layers=2, proj_size=3, bidirectional=True), [(5, 3, 6), (5, 6)]),
    "GRU": (lambda: nn.GRU(6, 4, num_layers=2, dropout=0.5), [(5, 3, 6), (5, 6)]),
    "bidirectional GRU": (lambda: nn.GRU(6, 4, bidirectional=True, batch_first=True), [(3, 5, 6)]),
}


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_every_form_of_a_layer_gives_the_same(name: str) -> None:
    make, shapes = LAYERS[name]
    layer = with_zeros(make()).double()
    (site,) = sites(layer)
    assert site.forms
    for _, form in site.forms:
        for shape in shapes:
            x = torch.randn(shape, dtype=torch.float64)
            wanted, found = layer(x), form()(x)
            torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
            assert all(y.is_contiguous() for y in tensors_in(found))
            if isinstance(layer, nn.RNNBase):
                torch.testing.assert_close(form()(x, wanted[1]), layer(x, wanted[1]), rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_an_embedding_keeps_the_rows_that_are_not_zero() -> None:
    layer = nn.Embedding(9, 4)
    layer.weight[[1, 2, 5, 8]] = 0
    ((_, make),) = sites(layer)[0].forms
    form = make()
    assert form.rows.shape == (6, 4), "five rows and one of zeros"
    for ids in (torch.arange(9), torch.randint(9, (2, 3)), torch.tensor(5), torch.zeros(0, 2, dtype=torch.long)):
        assert torch.equal(form(ids), layer(ids))
    for wrong in (-1, 9):
        with pytest.raises(IndexError):
            form(torch.tensor([wrong]))


class Mixed(nn.Module):
    """A large sparse linear layer that is used twice, in a class of its own, one that is dense, and chains in a Sequential."""

    def __init__(self, width: int = 1200) -> None:
        super().__init__()
        self.large = nn.Linear(width, width)
        self.again = self.large
        self.small = nn.Linear(width, 3)
        self.middle = nn.Sequential(
            nn.BatchNorm1d(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        with torch.no_grad():
            for layer in (self.large, self.middle[1], self.middle[3]):
                layer.weight *= torch.rand_like(layer.weight) < 0.005

    def forward(self, x: Tensor, *, scale: float = 1.0) -> dict[str, Any]:
        x = self.again(self.large(x).relu()) + x
        return {"scores": self.small(self.middle(x)) * scale, "cache": None}


def forms_of(fast: SparseRuntime) -> dict[str, str]:
    assert fast.report is not None
    return {layer.name: layer.form for layer in fast.report.layers}


@torch.no_grad()
def test_layers_are_sparse_where_that_is_faster(caplog: pytest.LogCaptureFixture) -> None:
    """The differences measured are five-fold and more."""
    net = Mixed()
    net.middle[0](torch.randn(8, 1200))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    x = {"x": torch.randn(64, 1200), "scale": 2.0}
    with caplog.at_level(logging.INFO, "pyro_vd.runtime"):
        fast = sparsify_runtime(net, example=x)
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert forms_of(fast) == {"large": "CSR", "small": "dense", "middle.1": "CSR"}
    (report,) = [record.getMessage() for record in caplog.records]
    assert report == "Mixed runs sparse: 2 of 3 layers at a batch of 64"
    assert fast.report is not None
    (whole,) = fast.report.networks
    assert whole.is_sparse
    assert whole.sparse is not None
    assert whole.sparse < whole.dense
    assert str(fast.report).count("\n") == 3
    for n in (1, 5, 64):
        given = torch.randn(n, 1200)
        wanted, found = net.eval()(given), fast(given)
        torch.testing.assert_close(found["scores"], wanted["scores"], rtol=1e-5, atol=1e-4)
    form = fast.forms[0]
    assert form.large is form.again
    assert form.small.weight is fast.net.small.weight, "what stays dense is held once"


@torch.no_grad()
def test_a_network_that_is_not_faster_stays_as_it_is() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.Flatten(), nn.Linear(180, 4)).eval()
    x = torch.randn(2, 3, 8, 8)
    fast = sparsify_runtime(net, (1, 4), example=x)
    assert torch.equal(fast(x), net(x))
    assert set(forms_of(fast).values()) == {"dense"}
    assert fast.report is not None
    assert fast.report.others == {"Conv2d": 1}
    assert [whole.batch_size for whole in fast.report.networks] == [1, 4]
    assert fast.limits == (2.0,)
    assert all("are not zero" in layer.why for layer in fast.report.layers)


class ReadsWeights(nn.Module):
    """Asks a layer for the type of its weight; computes with the weight of another itself."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.own, self.called = (nn.Linear(1000, 1000) for _ in range(3))
        with_zeros(self, 0.005)

    def forward(self, x: Tensor) -> Tensor:
        x = self.asked(x.to(self.asked.weight.dtype))
        return self.called(self.own(x) + nn.functional.linear(x, self.own.weight.view(-1).view(1000, 1000)))


@torch.no_grad()
def test_a_network_that_reads_its_weights_remains_the_same_function() -> None:
    net, x = ReadsWeights().eval(), torch.randn(16, 1000)
    fast = sparsify_runtime(net, example=x)
    assert forms_of(fast) == {"asked": "CSR", "own": "dense", "called": "CSR"}
    assert fast.report is not None
    assert "does not run" in next(layer.why for layer in fast.report.layers if layer.name == "own")
    torch.testing.assert_close(fast(x), net(x), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_copies_and_conversions_reach_the_sparse_layers() -> None:
    net = with_zeros(nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 4)))
    found = sites(net)
    form = substituted(net, found, {site.name: site.forms[0][1]() for site in found})
    assert not any(isinstance(module, nn.Linear) for module in form.modules())
    fast, x = SparseRuntime(net, [form], []), torch.randn(3, 6)
    twin = copy.deepcopy(fast)
    torch.testing.assert_close(twin.double()(x.double()), net(x).double(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fast(x), net(x))


def test_what_it_cannot_run_is_refused() -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    with refuses("1", ANYTHING, "BatchNorm1d", "example"):
        sparsify_runtime(net)
    with refuses("example", (5,), "does not fit"):
        sparsify_runtime(net, example=torch.randn(2, 5))
    with refuses("example", [], "tensor"):
        sparsify_runtime(net, example={"flag": True})
    with refuses("batch_sizes[0]", 0):
        sparsify_runtime(net, (0,), example=torch.randn(2, 4))
    for wrong in (3.0, torch.tensor(3.0)):
        with refuses("x", (wrong,)):
            SparseRuntime(net, [net, nn.Identity()], [8.0])(wrong)
    net[0].register_forward_hook(lambda module, args, output: 2 * output)
    with refuses("0", ANYTHING, "Linear"):
        sparsify_runtime(net, example=torch.randn(2, 4))
