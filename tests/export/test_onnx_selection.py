"""A selection of inputs in an ONNX file: the same function, by rows of the transpose."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from pyro_vd import compact, load_onnx, save_onnx
from pyro_vd.export.onnx_selection import SelectRows, with_fast_selections
from pyro_vd.networks import SelectInputs, mlp

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def selection(dim: int = -1) -> SelectInputs:
    found = SelectInputs(6, 3, dim)
    found.index.copy_(torch.tensor([1, 4, 5]))
    return found


def pruned() -> nn.Module:
    torch.manual_seed(0)
    net = mlp([20, 12, 4]).eval()
    with torch.no_grad():
        net[1].weight[:, torch.arange(0, 20, 3)] = 0
    return net


def test_a_compact_network_gathers_whole_rows(tmp_path: Path) -> None:
    small = compact(net := pruned())
    assert any(isinstance(module, SelectInputs) for module in small.modules())
    before = copy.deepcopy(small.state_dict())
    save_onnx(small, path := tmp_path / "net.onnx")
    torch.testing.assert_close(small.state_dict(), before, rtol=0, atol=0)
    assert not any(isinstance(module, SelectRows) for module in small.modules())
    (gather,) = [node for node in onnx.load(str(path)).graph.node if node.op_type == "Gather"]
    assert [each.i for each in gather.attribute if each.name == "axis"] in ([], [0])
    for batch in (1, 2, 33):
        x = torch.randn(batch, 20)
        torch.testing.assert_close(load_onnx(path)(x), net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 6), (5, 2, 6)])
@pytest.mark.parametrize("nested", [False, True])
def test_inputs_of_any_shape_are_selected_alike(shape: tuple[int, ...], nested: bool) -> None:
    net: nn.Module = nn.Sequential(nn.Identity(), nn.Sequential(selection(), nn.ReLU())) if nested else selection()
    x = torch.randn(shape)
    fast = with_fast_selections(net)
    assert any(isinstance(module, SelectRows) for module in fast.modules())
    assert torch.equal(fast(x), net(x))
    assert not any(isinstance(module, SelectRows) for module in net.modules())


def test_other_selections_and_networks_stay_as_they_are() -> None:
    for net in (nn.Sequential(selection(dim=1)), mlp([4, 3, 2])):
        assert with_fast_selections(net) is net
