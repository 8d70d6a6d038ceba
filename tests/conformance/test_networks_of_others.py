"""Networks that others wrote, through the whole library: the list is ``ZOO`` in ``benchmarks/zoo.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from zoo import ZOO, Specimen, with_zeros

from pyro_vd import (
    BayesianNetwork,
    VariationalDropout,
    VariationalDropoutELBO,
    compact,
    evaluate,
    fit,
    load_onnx,
    load_pruned,
    log_alpha,
    prune,
    save_onnx,
    save_pruned,
)
from pyro_vd.export import load_torch_export, save_torch_export
from pyro_vd.networks.inputs import Inputs, map_tensors, run, tensors_in
from pyro_vd.runtime import sparsify_runtime

every_network = pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)

NOT_YET_COMPACT = {
    "torchvision shufflenet_v2_x0_5",
    "timm vit_tiny_patch16_224",
    "Hugging Face BERT",
    "Hugging Face GPT-2",
    "Hugging Face Llama",
    "Hugging Face ViT",
    "LSTM classifier",
    "GRU classifier",
    "nn.TransformerEncoder classifier",
}
WITHOUT_GRADIENT = {("GRU classifier", "recurrent.weight_hh_l1_reverse")}
"""Its last output in reverse direction comes after one step from a state of zeros."""


@cache
def pruned(specimen: Specimen) -> nn.Module:
    return with_zeros(specimen.seeded(small=True), specimen.seeded_batch(8)[0])


@cache
def deployed(specimen: Specimen) -> nn.Module:
    """The pruned network, compact where that is possible."""
    net = pruned(specimen)
    return net if specimen.name in NOT_YET_COMPACT else compact(net, specimen.seeded_batch(2)[0])


def other_sizes(specimen: Specimen) -> list[Inputs]:
    """Inputs of other batch sizes than those with which a file was made, and of another length where there is one."""
    several: Any = map_tensors(lambda x: x[:, :-3] if specimen.has_length else x, specimen.seeded_batch(5, seed=2)[0])
    return [specimen.seeded_batch(1, seed=1)[0], several]


@torch.no_grad()
def check_same(found: nn.Module, wanted: nn.Module, x: Inputs, tolerance: float = 1e-5) -> None:
    """Outputs are the same to a share of the largest, and differ between examples; a mapping may lack a cache."""
    ours, theirs = run(found, x), run(wanted, x)
    if isinstance(ours, Mapping):
        theirs = {key: theirs[key] for key in ours}
    pairs: list[tuple[Tensor, Tensor]] = list(zip(tensors_in(ours), tensors_in(theirs), strict=True))
    assert pairs
    for our, their in pairs:
        assert our.shape == their.shape
        assert (our - their).abs().max() <= tolerance * their.abs().max()
        assert len(their) == 1 or their.std(0).max() > 0


@every_network
def test_it_trains_and_prunes(specimen: Specimen) -> None:
    x, y = specimen.seeded_batch(4)
    model = BayesianNetwork(specimen.seeded(small=True), output=specimen.output)
    guide = VariationalDropout(model)
    result = fit(guide, (x, y), epochs=2, batch_size=2, progress=False)
    assert len(result.history) == 2
    guide.zero_grad()  # of the last step, with that of the KL divergence
    VariationalDropoutELBO(kl_weight=0.0)(model, guide)(x, y).backward()
    for name in model.weight_names:
        has_gradient = (specimen.name, name) not in WITHOUT_GRADIENT
        for parameter in (guide.site(name).theta, guide.site(name).log_sigma2):
            assert parameter.grad.isfinite().all()
            assert bool(parameter.grad.any()) == has_gradient, name
    median = torch.cat([values.flatten() for values in log_alpha(guide).values()]).median()
    net = prune(guide, float(median))
    measured = evaluate(net, (x, y), likelihood=model.likelihood)
    assert 1.5 < measured.compression < 3


@every_network
def test_it_compacts(specimen: Specimen, request: pytest.FixtureRequest) -> None:
    if specimen.name in NOT_YET_COMPACT:
        reason = "compaction does not follow it yet"
        request.applymarker(pytest.mark.xfail(reason=reason, strict=True))
    net = pruned(specimen)
    small = compact(net, specimen.seeded_batch(2)[0])
    sizes = [sum(parameter.numel() for parameter in each.parameters()) for each in (net, small)]
    assert sizes[1] < 0.9 * sizes[0]
    for x in other_sizes(specimen):
        check_same(small, net, x)


@every_network
@pytest.mark.parametrize("layout", ["dense", "sparse"])
def test_a_file_gives_it_back(specimen: Specimen, layout: Any, tmp_path: Path) -> None:
    net = deployed(specimen)
    save_pruned(net, tmp_path / "net", layout=layout)
    again = load_pruned(tmp_path / "net", specimen.seeded(1, small=True))
    wanted, found = net.state_dict(), again.state_dict()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in wanted.items())
    assert len(list(again.parameters())) == len(list(net.parameters())), "what is tied stays tied"
    check_same(again, net, specimen.seeded_batch(2)[0], 0)


@every_network
@pytest.mark.parametrize(
    ("save", "load"),
    [(save_onnx, load_onnx), (save_torch_export, load_torch_export)],
    ids=["ONNX", "torch"],
)
def test_an_exported_file_agrees(
    specimen: Specimen, save: Callable[..., None], load: Callable[[Path], nn.Module], tmp_path: Path
) -> None:
    net = deployed(specimen)
    save(net, tmp_path / "net", specimen.seeded_batch(2)[0], dynamic=specimen.dynamic)
    again = load(tmp_path / "net")
    for x in other_sizes(specimen):
        check_same(again, net, x)


@every_network
def test_it_runs_with_sparse_layers(specimen: Specimen) -> None:
    net = pruned(specimen)
    fast = sparsify_runtime(net, example=specimen.seeded_batch(4)[0])
    assert fast.report is not None
    assert fast.report.layers
    for x in other_sizes(specimen):
        check_same(fast, net, x)
