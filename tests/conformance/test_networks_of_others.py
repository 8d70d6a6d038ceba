"""Networks that others wrote, through the whole library: the list is ``ZOO`` in ``benchmarks/zoo.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import ZOO, Specimen

from pyro_vd import load_onnx, load_pruned, save_onnx, save_pruned
from pyro_vd.export import load_torch_export, save_torch_export
from pyro_vd.networks.inputs import Inputs, map_tensors, run, tensors_in

pytestmark = pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)


@torch.no_grad()
def pruned(specimen: Specimen) -> nn.Module:
    """The network in evaluation mode, with running statistics that have seen data, and nine of ten weights zero."""
    net = specimen.seeded(small=True)
    run(net, specimen.seeded_batch(8)[0])
    for parameter in net.parameters():
        if parameter.ndim > 1:
            parameter *= torch.rand_like(parameter) < 0.1
    return net.eval()


def other_sizes(specimen: Specimen) -> list[Inputs]:
    """Inputs of other batch sizes than those with which a file was made, and of another length where there is one."""
    several: Any = map_tensors(lambda x: x[:, :-3] if specimen.has_length else x, specimen.seeded_batch(5, seed=2)[0])
    return [specimen.seeded_batch(1, seed=1)[0], several]


@torch.no_grad()
def check_same(found: nn.Module, wanted: nn.Module, x: Inputs, tolerance: float = 1e-5) -> None:
    """Outputs are the same to a share of the largest; a mapping may have fewer entries, such as no cache."""
    ours, theirs = run(found, x), run(wanted, x)
    if isinstance(ours, Mapping):
        theirs = {key: theirs[key] for key in ours}
    pairs: list[tuple[Tensor, Tensor]] = list(zip(tensors_in(ours), tensors_in(theirs), strict=True))
    assert pairs
    for our, their in pairs:
        assert our.shape == their.shape
        assert (our - their).abs().max() <= tolerance * their.abs().max()


@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_a_file_gives_it_back(specimen: Specimen, layout: Any, tmp_path: Path) -> None:
    net = pruned(specimen)
    save_pruned(net, tmp_path / "net", layout=layout)
    again = load_pruned(tmp_path / "net", specimen.seeded(1, small=True))
    wanted, found = net.state_dict(), again.state_dict()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in wanted.items())
    assert len(list(again.parameters())) == len(list(net.parameters())), "what is tied stays tied"
    check_same(again, net, specimen.seeded_batch(2)[0], 0)


@pytest.mark.parametrize(
    ("save", "load"), [(save_onnx, load_onnx), (save_torch_export, load_torch_export)], ids=["ONNX", "torch"]
)
def test_an_exported_file_agrees(
    specimen: Specimen, save: Callable[..., None], load: Callable[[Path], nn.Module], tmp_path: Path
) -> None:
    net = pruned(specimen)
    save(net, tmp_path / "net", specimen.seeded_batch(2)[0], dynamic=specimen.dynamic)
    again = load(tmp_path / "net")
    for x in other_sizes(specimen):
        check_same(again, net, x)
