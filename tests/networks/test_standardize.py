"""The standardization at the front of a network: what it learns, and that pruning, compaction and files keep it exact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import refuses
from torch import Tensor, nn

from pyro_vd import compact, load_onnx, load_pruned, save_onnx, save_pruned
from pyro_vd.export import load_torch_export, save_torch_export
from pyro_vd.networks import SelectInputs, Standardize
from pyro_vd.networks.flops import network_cost
from pyro_vd.runtime import sparsify_runtime
from pyro_vd.runtime.csr import CSRNetwork


def inputs() -> Tensor:
    """Two numbers in units of their own, a category of zeros and ones, a constant, and a number near the limit of float32."""
    torch.manual_seed(0)
    x = torch.randn(60, 5) * torch.tensor([3.0, 500.0, 1.0, 0.0, 1e37]) + torch.tensor([-7.0, 1e5, 0.0, 2019.0, 0.0])
    x[:, 2] = (x[:, 2] > 1).float()
    return x


def network(*, flattened: bool) -> nn.Sequential:
    """A network that does not read input 0, has four of its eight units, and begins with a standardization."""
    front = [nn.Flatten()] if flattened else []
    net = nn.Sequential(*front, Standardize(5).fit(inputs()), nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    layer = next(module for module in net if isinstance(module, nn.Linear))
    with torch.no_grad():
        layer.weight[:, 0] = 0
        layer.weight[4:] = 0
    return net


def test_what_is_learnt() -> None:
    x = inputs()
    made = Standardize(5).fit(x)(x)
    varying = made[:, [0, 1, 2, 4]]
    torch.testing.assert_close(varying.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(varying.std(0, correction=0), torch.ones(4))
    assert not Standardize(5).fit(x)(x + 1)[:, 3].any(), "a constant is never read"
    sequence = x.reshape(12, 5, 5)
    assert torch.equal(Standardize(5).fit(sequence).mean, Standardize(5).fit(x).mean)
    assert not Standardize(1).fit(torch.tensor([[0.0], [1e-40]])).scale.any(), "an inverse beyond float32"
    for wrong in (x[:, :4], x[0]):
        with refuses("inputs", tuple(wrong.shape), 5):
            Standardize(5).fit(wrong)


@pytest.mark.parametrize("flattened", [True, False])
def test_a_compact_network_keeps_what_it_reads(flattened: bool) -> None:
    net, x = network(flattened=flattened), inputs()
    small = compact(net)
    (selection,) = (module for module in small if isinstance(module, SelectInputs))
    (standardize,) = (module for module in small if isinstance(module, Standardize))
    assert selection.index.tolist() == [1, 2, 4], "nor a constant"
    assert (selection.in_features, standardize.features) == (5, 3)
    torch.testing.assert_close(small(x), net(x))
    again = compact(small)
    assert str(again) == str(small)
    torch.testing.assert_close(again(x), net(x))
    assert network_cost(small, x[:1]).parameters == 3 * 4 + 4 + 4 * 2 + 2


@pytest.mark.parametrize("compacted", [True, False])
def test_files_and_sparse_layers_keep_it(tmp_path: Path, compacted: bool) -> None:
    whole, x = network(flattened=True), inputs()
    net = compact(whole) if compacted else whole
    wanted = whole(x)
    for layout in ("dense", "sparse"):
        save_pruned(net, tmp_path / "net.safetensors", layout=layout)
        torch.testing.assert_close(load_pruned(tmp_path / "net.safetensors")(x), wanted)
    save_onnx(net, tmp_path / "net.onnx", x[:3])
    torch.testing.assert_close(load_onnx(tmp_path / "net.onnx")(x), wanted)
    save_torch_export(net, tmp_path / "net.pt2", x[:3])
    torch.testing.assert_close(load_torch_export(tmp_path / "net.pt2")(x), wanted)
    torch.testing.assert_close(CSRNetwork(net)(x), wanted)
    torch.testing.assert_close(sparsify_runtime(net, [60])(x), wanted)
    torch.testing.assert_close(sparsify_runtime(net, example=x)(x), wanted)
    with refuses("x", 4, 5):
        CSRNetwork(whole)(x[:, :4])


def test_gradients_do_not_change_it() -> None:
    module = Standardize(5).fit(inputs())
    assert not list(module.parameters())
    assert {name for name, _ in module.named_buffers()} == {"mean", "scale"}
    before = module.mean.clone()
    module.train()(inputs() + 1)
    assert torch.equal(module.mean, before)
