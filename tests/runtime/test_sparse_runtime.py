"""Sparse inference: the same outputs, sparse where that is faster."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from compaction_support import prune_at_random
from support import python
from torch import nn

from pyro_vd import compact
from pyro_vd.networks.ready import mlp
from pyro_vd.runtime import sparsify_runtime
from pyro_vd.runtime.csr import CSRNetwork
from pyro_vd.runtime.csr_linear import CSRLinear
from pyro_vd.runtime.sparse_runtime import ChainRuntime

NETS: dict[str, nn.Module] = {
    "ReLU": mlp((20, 15, 12, 4)),
    "dropout": mlp((20, 15, 12, 4), dropout=0.5),
    "no flattening": nn.Sequential(nn.Linear(20, 9), nn.Tanh(), nn.Linear(9, 4)),
    "activation first": nn.Sequential(nn.ReLU(inplace=True), nn.Linear(20, 9), nn.GELU(), nn.Softplus(), nn.Linear(9, 4)),
    "no bias, nested": nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(20, 9, bias=False), nn.ReLU()), nn.Linear(9, 4)),
    "one layer": nn.Linear(20, 4),
}
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def layers(net: nn.Module) -> list[CSRLinear]:
    return [module for module in net.modules() if isinstance(module, CSRLinear)]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", NETS)
def test_equal_outputs(name: str, dtype: torch.dtype) -> None:
    net = copy.deepcopy(NETS[name]).to(dtype).train()
    prune_at_random(net)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    small: Any = compact(net, torch.randn(2, 20, dtype=dtype))
    count = len(layers(CSRNetwork(net)))
    mixed = [index % 2 == 0 for index in range(count)]
    state = torch.get_rng_state()
    forms = [CSRNetwork(net), CSRNetwork(small), CSRNetwork(net, mixed), CSRNetwork(small, [False] * count)]
    forms += [sparsify_runtime(net), sparsify_runtime(small, [3])]
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert all(layer.is_sparse for layer in layers(forms[0]))
    assert [layer.is_sparse for layer in layers(forms[2])] == mixed
    net.eval()
    for batch in (1, 2, 64, 300):
        x = torch.randn(batch, 20, dtype=dtype)
        given, wanted = x.clone(), net(x.clone())
        for form in forms:
            torch.testing.assert_close(form(given), wanted, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
            if name != "activation first":  # which changes its input itself
                assert torch.equal(given, x)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_empty_batch_and_gradient(dtype: torch.dtype) -> None:
    net = mlp((20, 15, 4)).to(dtype)
    prune_at_random(net)
    form, x = CSRNetwork(net), torch.randn(6, 20, dtype=dtype, requires_grad=True)
    assert form(x[:0]).shape == (0, 4)
    ours, wanted = (torch.autograd.grad(f(x).square().sum(), x)[0] for f in (form, net))
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5)


def test_a_layer_fully_pruned_and_images() -> None:
    net = mlp((20, 15, 4))
    with torch.no_grad():
        net[1].weight.zero_()
    x = torch.randn(6, 5, 2, 2)
    for form in (CSRNetwork(net), sparsify_runtime(net), sparsify_runtime(compact(net))):
        torch.testing.assert_close(form(x), net(x))


def test_sparse_where_it_is_faster() -> None:
    """The differences measured are five-fold and more."""
    sparse, dense = nn.Sequential(nn.Flatten(), nn.Linear(1500, 1500)), nn.Sequential(nn.Linear(400, 400), nn.ReLU())
    with torch.no_grad():
        sparse[1].weight *= torch.rand_like(sparse[1].weight) < 0.005
    mixed = nn.Sequential(*sparse, nn.ReLU(), nn.Linear(1500, 400), *dense)
    assert [layer.is_sparse for layer in layers(sparsify_runtime(sparse, [64]))] == [True]
    assert [layer.is_sparse for layer in layers(sparsify_runtime(mixed, [64]))] == [True, False, False]
    assert not any(layer.is_sparse for layer in layers(sparsify_runtime(dense, [64])))


def test_each_batch_has_the_form_measured_for_the_nearest() -> None:
    forms = [nn.Identity(), nn.ReLU(), nn.Tanh()]
    runtime = ChainRuntime(forms[0], forms, [8.0, 256.0])
    for batch, form in ((0, 0), (1, 0), (8, 0), (9, 1), (256, 1), (257, 2), (5000, 2)):
        x = torch.randn(batch, 2)
        assert torch.equal(runtime(x), forms[form](x))
    assert sparsify_runtime(mlp((4, 3)), [64, 1, 64]).limits == (8.0,)
    assert "(0) up to a batch of 8" in repr(runtime)


def test_the_repr_says_what_was_measured() -> None:
    runtime = sparsify_runtime(mlp((4, 3)))
    assert runtime.report is not None
    assert [whole.batch_size for whole in runtime.report.networks] == [1, 16, 64, 256, 1024]
    shown = repr(runtime)
    assert all(str(whole) in shown for whole in runtime.report.networks)
    assert f"measured with {torch.get_num_threads()} CPU thread(s)" in shown
    assert "at every batch" in repr(sparsify_runtime(mlp((4, 3)), [64]))


def test_dense_where_torch_cannot_multiply_a_sparse_matrix() -> None:
    net = mlp((20, 15, 4)).bfloat16()
    form = CSRNetwork(net)
    assert not any(layer.is_sparse for layer in layers(form)), "if torch has learnt it, take another type"
    x = torch.randn(3, 20).bfloat16()
    torch.testing.assert_close(form(x), net(x))
    torch.testing.assert_close(sparsify_runtime(net)(x), net(x))


def test_conversion_reaches_the_products() -> None:
    net = mlp((20, 15, 4))
    prune_at_random(net)
    form, x = CSRNetwork(net).double(), torch.randn(3, 20).double()
    torch.testing.assert_close(form(x), net.double()(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_copy_has_tensors_of_its_own(dtype: torch.dtype) -> None:
    net = mlp((20, 15, 4)).to(dtype)
    prune_at_random(net)
    compacted, x = compact(net), torch.randn(3, 20, dtype=dtype)
    whole = ChainRuntime(compacted, [CSRNetwork(compacted), compacted], [8.0])
    for form in (whole, CSRNetwork(compacted, [True, False]), sparsify_runtime(net)):
        twin, wanted = copy.deepcopy(form), form(x)
        assert torch.equal(twin(x), wanted)
        for buffer in form.buffers():
            (buffer.values() if buffer.layout is torch.sparse_csr else buffer).zero_()
        for parameter in form.parameters():
            parameter.data.zero_()
        assert torch.equal(twin(x), wanted)
        assert [layer.is_sparse for layer in layers(twin)] == [layer.is_sparse for layer in layers(form)]
        torch.testing.assert_close(twin.to(torch.float64)(x.double()), wanted.double(), rtol=1e-4, atol=1e-4)


CODE = """
import warnings
import torch
from pyro_vd.runtime import sparsify_runtime
from pyro_vd.networks import SelectInputs, mlp
before = list(warnings.filters)
sparsify_runtime(mlp((20, 15, 4)))(torch.randn(3, 20))
assert warnings.filters == before
"""


@pytest.mark.slow
def test_no_warning_and_no_filter_left() -> None:
    done = python(CODE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("shape", [(20,), (3, 20), (5, 3, 20), (2, 0, 20), (2, 1, 3, 20)])
@pytest.mark.parametrize("name", ["no flattening", "activation first", "one layer"])
def test_any_shape_in_front_of_the_features(name: str, shape: tuple[int, ...]) -> None:
    net = copy.deepcopy(NETS[name]).eval()
    prune_at_random(net)
    small: Any = compact(net, torch.randn(2, 20))
    for form in (CSRNetwork(net), CSRNetwork(small), sparsify_runtime(net), sparsify_runtime(small)):
        x = torch.randn(shape)
        wanted = net(x.clone())
        found = form(x)
        assert found.shape == wanted.shape
        torch.testing.assert_close(found, wanted)
