"""Networks that others wrote, through the whole library: the list is ``ZOO`` in ``benchmarks/zoo.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stages import EXPORTS, compacted, difference, exported, other_sizes, parameters, pruned, tolerance, train
from zoo import ZOO, Specimen

from pyro_vd import evaluate, load_pruned, save_pruned
from pyro_vd.runtime import sparsify_runtime

pytestmark = pytest.mark.slow

every_network = pytest.mark.parametrize("specimen", [pytest.param(each, id=each.name) for each in ZOO])

LONG_IN_ONNX = {f"torchvision {name}" for name in ("mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5")}
every_export = pytest.mark.parametrize(
    ("specimen", "kind"),
    [
        pytest.param(
            each, kind, id=f"{kind}-{each.name}", marks=[pytest.mark.long] * (kind == "ONNX" and each.name in LONG_IN_ONNX)
        )
        for kind in EXPORTS
        for each in ZOO
    ],
)


@every_network
def test_it_trains_and_prunes(specimen: Specimen) -> None:
    trained = train(specimen)
    assert trained.without_gradient == specimen.without_gradient
    for name in trained.model.weight_names:
        assert all(parameter.isfinite().all() for parameter in trained.guide.site(name).parameters())
    measured = evaluate(trained.pruned, specimen.seeded_batch(4), likelihood=trained.model.likelihood)
    assert 1.5 < measured.compression < 3


@every_network
def test_it_compacts(specimen: Specimen) -> None:
    small = compacted(specimen)
    assert parameters(small) < 0.9 * parameters(pruned(specimen))
    for x in other_sizes(specimen):
        assert difference(small, pruned(specimen), x) < 1e-5


@every_network
@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_a_file_gives_it_back(specimen: Specimen, layout: Any, tmp_path: Path) -> None:
    net = compacted(specimen)
    save_pruned(net, tmp_path / "net", layout=layout)
    again = load_pruned(tmp_path / "net", specimen.seeded(1, small=True))
    wanted, found = net.state_dict(), again.state_dict()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in wanted.items())
    assert len(list(again.parameters())) == len(list(net.parameters())), "what is tied stays tied"
    assert difference(again, net, specimen.seeded_batch(2)[0]) == 0


@every_export
def test_an_exported_file_agrees(specimen: Specimen, kind: str, tmp_path: Path) -> None:
    net = compacted(specimen)
    again = exported(net, specimen, kind, tmp_path / "net")
    for x in other_sizes(specimen):
        assert difference(again, net, x) < tolerance(net, x)


@every_network
def test_it_runs_with_sparse_layers(specimen: Specimen) -> None:
    net = pruned(specimen)
    fast = sparsify_runtime(net, example=specimen.seeded_batch(4)[0])
    assert fast.report is not None
    assert fast.report.layers
    for x in other_sizes(specimen):
        assert difference(fast, net, x) < 1e-5
