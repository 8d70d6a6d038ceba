"""What would be deployed: the sizes are those of real files, of the compact network where it can be made."""

from __future__ import annotations

import copy
import logging
import warnings
from pathlib import Path

import pytest
import torch
from compaction_support import prune_at_random
from size_support import Branching, Embedded, Frozen, Recurrent
from torch import Tensor, nn

from pyro_vd import compact, evaluate, load_pruned, save_pruned
from pyro_vd.compaction.compacting import compacted
from pyro_vd.compaction.verifying import Verified
from pyro_vd.evaluation import deployed
from pyro_vd.evaluation.deployed import deployed_size, stored_size
from pyro_vd.evaluation.network_size import network_size
from pyro_vd.networks.ready import mlp

CNN = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 10))
FILES: dict[str, tuple[nn.Module, Tensor]] = {
    "MLP": (mlp((30, 200, 40, 10)), torch.randn(2, 30)),
    "wide": (mlp((700, 50, 10)), torch.randn(2, 700)),
    "convolutions": (CNN, torch.randn(2, 1, 6, 6)),
    "own class": (Frozen(), torch.randn(2, 5)),
    "LSTM": (Recurrent(), torch.randn(2, 4, 12)),
    "refused": (Branching(), torch.randn(2, 5)),
    "tied": (Embedded(tied=True), torch.randn(2, 4)),
    "float64": (mlp((30, 20, 10)).double(), torch.randn(2, 30, dtype=torch.float64)),
    "bfloat16": (mlp((30, 20, 10)).bfloat16(), torch.randn(2, 30, dtype=torch.bfloat16)),
}


@pytest.mark.parametrize("pruned", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_sizes_are_those_of_real_files(name: str, pruned: bool, tmp_path: Path) -> None:
    net, x = copy.deepcopy(FILES[name])
    if pruned:
        prune_at_random(net)
    found, stored = deployed_size(net, x), stored_size(net)
    assert found is not None
    small = net if name == "refused" else compact(net, x)
    assert (found.not_compacted is None) == (name != "refused" or not pruned)
    assert found.parameters == sum(parameter.numel() for parameter in small.parameters())
    assert stored.nonzero_parameters == sum(int((parameter != 0).sum()) for parameter in net.parameters())
    for network, layout, size in (
        (small, "dense", found.bytes),
        (small, "sparse", found.sparse_bytes),
        (net, "sparse", stored.sparse_bytes),
    ):
        save_pruned(network, tmp_path / "file", layout=layout)  # type: ignore[arg-type]
        assert abs((tmp_path / "file").stat().st_size - size) <= 16


def test_a_network_that_cannot_be_compacted_is_counted_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    y = torch.arange(6) % 3
    with caplog.at_level(logging.WARNING):
        evaluate(Recurrent(), (torch.randn(6, 4, 12), y))
        prune_at_random(net := Branching())
        metrics = evaluate(net, (torch.randn(6, 5), y))
        wide = nn.Sequential(nn.Linear(5, 4), nn.GroupNorm(2, 4), nn.Linear(4, 3))
        prune_at_random(wide)
        evaluate(wide, (torch.randn(6, 5), y))
    assert not caplog.records, "measuring does not tell what compacting would tell"
    assert metrics.deployed is not None
    assert metrics.deployed.parameters == sum(parameter.numel() for parameter in net.parameters())
    assert "Branching is left whole" in str(metrics.deployed.not_compacted)
    assert str(metrics.deployed.parameters) in repr(metrics)


def test_a_network_without_zeros_is_not_compacted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it can go, so that its sizes are its own; one zero, in a normalisation as well, can make it smaller."""
    calls: list[nn.Module] = []

    def counted(net: nn.Module, example: Tensor | None = None) -> Verified:
        calls.append(net)
        return compacted(net, example)

    monkeypatch.setattr(deployed, "compacted", counted)
    x = torch.randn(2, 1, 6, 6)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    whole = deployed_size(net, x)
    assert not calls
    small = compact(net, x)
    assert whole is not None
    assert whole.parameters == sum(parameter.numel() for parameter in small.parameters())
    assert deployed_size(torch.compile(net), x) == whole
    calls.clear()
    with torch.no_grad():
        net[1].weight[2] = 0
    smaller = deployed_size(net, x)
    assert smaller is not None
    assert (smaller.parameters < whole.parameters, calls) == (True, [net])


def test_measuring_leaves_warnings_and_loggers_as_they_were() -> None:
    def settings() -> tuple[object, ...]:
        loggers = [logging.getLogger(name) for name in ("pyro_vd.compaction", "torch", "torch.__trace")]
        return id(warnings.filters), list(warnings.filters), [(logger.level, list(logger.filters)) for logger in loggers]

    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    prune_at_random(net)
    before = settings()
    deployed_size(net, torch.randn(2, 5))
    assert settings() == before


def test_a_file_read_back_counts_as_what_was_written(tmp_path: Path) -> None:
    net = mlp((30, 20, 10))
    prune_at_random(net)
    save_pruned(net, tmp_path / "file")
    x = torch.randn(1, 30)
    assert network_size(load_pruned(tmp_path / "file"), x) == network_size(net, x)
