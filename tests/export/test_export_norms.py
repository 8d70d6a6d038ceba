"""Networks whose normalisations have lost units: files describe them, and exported programs agree with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from compaction import varied
from compaction_support import prune_at_random
from stages import EXPORTS, difference, exported, other_sizes, tolerance
from stream_support import without_stream_units
from torch import nn
from zoo import Specimen, specimens

from pyro_vd import compact, load_pruned, save_pruned
from pyro_vd.networks.partial_norms import PartialNorm
from pyro_vd.runtime import sparsify_runtime


@pytest.mark.parametrize("layout", ["dense", "sparse", "quantised"])
def test_a_file_describes_them(tmp_path: Path, layout: Any) -> None:
    net = nn.Sequential(nn.Linear(6, 30), nn.LayerNorm(30), nn.Linear(30, 9), nn.ReLU(), nn.Linear(9, 3))
    prune_at_random(net, density=0.5, units=0.4)
    small: Any = compact(net)
    assert isinstance(small[2], PartialNorm)
    save_pruned(small, tmp_path / "net", layout=layout)
    again: Any = load_pruned(tmp_path / "net")
    assert repr(again) == repr(small)
    assert torch.equal(again[2].removed, small[2].removed)


@pytest.fixture(scope="module", params=["nn.TransformerEncoder classifier", "Hugging Face ViT", "Hugging Face GPT-2"])
def narrower(request: pytest.FixtureRequest) -> tuple[nn.Module, Specimen]:
    """A network whose residual stream is narrower."""
    (specimen,) = specimens(request.param)
    net, (x, _) = varied(specimen.seeded()).eval(), specimen.seeded_batch(3)
    without_stream_units(net, x, norms=True)
    small = compact(net, x)
    assert any(isinstance(module, PartialNorm) for module in small.modules())
    return small, specimen


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_exported_file_agrees(narrower: tuple[nn.Module, Specimen], kind: str, tmp_path: Path) -> None:
    small, specimen = narrower
    again = exported(small, specimen, kind, tmp_path / "net")
    for x in other_sizes(specimen):
        assert difference(again, small, x) < tolerance(small, x)


def test_a_file_gives_it_back(narrower: tuple[nn.Module, Specimen], tmp_path: Path) -> None:
    small, specimen = narrower
    save_pruned(small, tmp_path / "net")
    again = load_pruned(tmp_path / "net", specimen.seeded(1))
    assert {name: tensor.tolist() for name, tensor in again.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in small.state_dict().items()
    }
    assert difference(again, small, specimen.seeded_batch(2)[0]) == 0


def test_it_runs_with_sparse_layers(narrower: tuple[nn.Module, Specimen]) -> None:
    small, specimen = narrower
    fast = sparsify_runtime(small, example=specimen.seeded_batch(4)[0])
    for x in other_sizes(specimen):
        assert difference(fast, small, x) < 1e-5
