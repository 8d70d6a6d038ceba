"""How small a network is: every weight counts, wherever it is, and what would be deployed is the size of real files."""

from __future__ import annotations

import copy
import json
import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from compaction_support import prune_at_random
from support import refuses
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

from pyro_vd import (
    BayesianNetwork,
    VariationalDropout,
    choose_threshold,
    compact,
    evaluate,
    fit,
    load_pruned,
    posterior_mean,
    prune,
    save_pruned,
    surviving_units,
)
from pyro_vd._core.storage import as_json
from pyro_vd.compaction.compacting import compacted
from pyro_vd.evaluation import deployed
from pyro_vd.evaluation.deployed import deployed_size, stored_size
from pyro_vd.evaluation.network_size import network_size
from pyro_vd.guides import PointEstimate
from pyro_vd.models import Normal
from pyro_vd.networks.ready import mlp
from pyro_vd.networks.sizes import OTHERS, compression, layer_sizes
from pyro_vd.runtime import sparsify_runtime
from pyro_vd.training import MetricsLog
from pyro_vd.training.progress import Progress
from pyro_vd.workflow.tables import print_networks


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rows, self.head = nn.LSTM(12, 64, batch_first=True), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.rows(x)[0][:, -1])
        return scores


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))
        return scores


class Embedded(nn.Module):
    """Words as rounded inputs; ``tied`` reads them out with the matrix that they are embedded with."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(20, 6), nn.Linear(6, 20, bias=False)
        if tied:
            self.head.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.words(x.abs().round().long().clamp(max=19)).mean(1))
        return scores


class Bare(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.matrix = nn.Linear(5, 7), nn.Parameter(torch.randn(7, 3))
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x).relu() @ self.matrix * self.scale


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone, self.head = nn.Linear(5, 30), nn.Linear(30, 3)
        self.backbone.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.backbone(x).relu())
        return scores


class Branching(nn.Module):
    """Does something else for large inputs, which tracing cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 40), nn.Linear(40, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        scores: Tensor = self.second(h if x.sum() > 100 else 2 * h)
        return scores


NETS: dict[str, tuple[type[nn.Module], Tensor, int]] = {
    "LSTM": (Recurrent, torch.randn(9, 4, 12), 4 * 64 * (12 + 64) + 64 * 3),
    "attention": (Attention, torch.randn(9, 4, 8), 3 * 8 * 8 + 8 * 8 + 8 * 3),
    "embedding": (Embedded, torch.randn(9, 4), 20 * 6 + 6 * 20),
    "bare parameter": (Bare, torch.randn(9, 5), 5 * 7 + 7 * 3),
    "frozen": (Frozen, torch.randn(9, 5), 5 * 30 + 30 * 3),
}


@pytest.mark.parametrize("name", NETS)
def test_every_weight_counts_and_what_has_no_prior_is_kept(name: str) -> None:
    kind, x, weights = NETS[name]
    model = BayesianNetwork(kind())
    guide = VariationalDropout(model, log_sigma2=-3.0)
    net, data = prune(guide), (x, torch.arange(9) % 3)
    with_prior = sum(weight.numel() for weight in model.initial_weights.values())
    removed = sum(int((guide.mean(site) == 0).sum()) for site in guide.site_names)
    left = sum(int((net.get_parameter(site) != 0).sum()) for site in model.weight_names)
    assert left < with_prior, "something is removed"
    found, sampled = evaluate(net, data), evaluate(guide, data, num_samples=2)
    assert found.compression == compression(net) == compression(net, model.weight_names)
    assert found.compression == weights / (weights - with_prior + left)
    assert sampled.compression == weights / (weights - removed)
    for metrics in (found, sampled):
        assert metrics.prior_share == with_prior / sum(parameter.numel() for parameter in net.parameters())
        *sites, others = metrics.layers
        assert [layer.site for layer in sites] == model.weight_names
        assert asdict(others) == {"site": OTHERS, "weights": weights - with_prior, "nonzero": weights - with_prior}
    assert layer_sizes(model)[-1] == others


def test_zeros_without_a_prior_are_kept_where_the_priors_are_known() -> None:
    model = BayesianNetwork(Bare())
    with torch.no_grad():
        model.net.matrix[:2] = 0
    net = posterior_mean(PointEstimate(model))
    assert (compression(net), compression(net, model.weight_names)) == (56 / 50, 1.0)


def test_what_is_made_of_other_parameters_counts_once() -> None:
    for change in (parametrizations.weight_norm, parametrizations.orthogonal, parametrizations.spectral_norm):
        net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), change(nn.Linear(4, 4)))
        assert [(layer.weights, layer.nonzero) for layer in layer_sizes(net)] == [(16, 16), (16, 16)]
    with pytest.warns(FutureWarning):
        old = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 4)), nn.utils.spectral_norm(nn.Linear(4, 3)))
    assert sum(layer.weights for layer in layer_sizes(old)) == 16 + 12
    masked = nn.Sequential(torch_prune.random_unstructured(nn.Linear(4, 4), "weight", 0.5))
    assert compression(masked) == 2
    named_alike = nn.Module()
    named_alike.pos, named_alike.pos_g = nn.Parameter(torch.ones(2, 3)), nn.Parameter(torch.ones(4, 5))
    assert sum(layer.weights for layer in layer_sizes(named_alike)) == 6 + 20


def test_shared_weights_count_once() -> None:
    tied = Embedded(tied=True)
    assert [asdict(layer) for layer in layer_sizes(tied)] == [{"site": "words.weight", "weights": 120, "nonzero": 120}]
    assert layer_sizes(BayesianNetwork(tied)) == layer_sizes(tied)
    twice = nn.Linear(3, 3)
    assert [layer.weights for layer in layer_sizes(nn.Sequential(twice, nn.ReLU(), twice))] == [9]


def test_no_weight_to_see_is_not_infinitely_small(tmp_path: Path) -> None:
    """The network in an ONNX or ``torch.export`` file shows none."""
    data = torch.rand(6, 3), torch.arange(6) % 3
    metrics = evaluate(nn.Softplus(), data)
    assert math.isnan(metrics.compression)
    assert math.isnan(metrics.prior_share)
    assert (metrics.deployed, metrics.layers) == (None, ())


def test_all_frozen_is_counted_as_if_none_were() -> None:
    net = mlp((6, 5, 3))
    prune_at_random(net)
    size = network_size(net, torch.randn(1, 6))
    assert network_size(net.requires_grad_(False), torch.randn(1, 6)) == size
    x = torch.randn(9, 6)
    runtime = evaluate(sparsify_runtime(net), (x, torch.arange(9) % 3))
    assert (runtime.compression, runtime.deployed) == (size.compression, size.deployed)


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
    assert "Branching cannot be followed" in str(metrics.deployed.not_compacted)
    assert str(metrics.deployed.parameters) in repr(metrics)


def test_a_network_without_zeros_is_not_compacted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it can go, so that its sizes are its own; one zero, in a normalisation as well, can make it smaller."""
    calls: list[nn.Module] = []

    def counted(net: nn.Module, example: Tensor | None = None) -> tuple[nn.Module, list[str]]:
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


def test_measuring_leaves_the_warnings_and_loggers_of_other_modules_alone() -> None:
    """What it says is dropped by itself, not by filters that all threads share."""
    seen: list[tuple[int, int]] = []

    class Looking(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            loggers = [logging.getLogger(f"pyro_vd.{name}") for name in ("compaction", "compaction_graph")]
            seen.append((id(warnings.filters), sum(len(logger.filters) for logger in loggers)))
            return super().forward(input)

    net = nn.Sequential(Looking(5, 4), nn.ReLU(), nn.Linear(4, 3))
    prune_at_random(net)
    deployed_size(net, torch.randn(2, 5))
    assert set(seen) == {(id(warnings.filters), 0)}


def test_regression_and_threshold_choice_say_it_too() -> None:
    model = BayesianNetwork(Bare(), Normal())
    guide = VariationalDropout(model, log_sigma2=-3.0)
    data = torch.randn(9, 5), torch.randn(9, 3)
    metrics = evaluate(guide, data)
    assert 0 < metrics.prior_share < 1
    assert metrics.deployed == deployed_size(posterior_mean(guide), data[0])
    choice = choose_threshold(guide, data, max_error_rise=1.0, candidates=[0.0, 3.0])
    for trial in choice.trials:
        net = prune(guide, trial.threshold)
        assert (trial.nonzero_parameters, trial.sparse_bytes) == tuple(asdict(stored_size(net)).values())
        assert trial.compression == compression(net, model.weight_names)
    assert "sparse_bytes" in repr(choice)


def test_the_log_of_a_training_says_it(tmp_path: Path) -> None:
    model = BayesianNetwork(Recurrent())
    guide = VariationalDropout(model, log_sigma2=-3.0)
    data = torch.randn(20, 4, 12), torch.arange(20) % 3
    record = fit(guide, data, epochs=1, progress=False, callbacks=[MetricsLog(tmp_path / "log")]).history[-1]
    net = prune(guide)
    assert record.compression == compression(net, model.weight_names) < 1.02
    assert (record.nonzero_parameters, record.sparse_bytes) == tuple(asdict(stored_size(net)).values())
    line: dict[str, Any] = json.loads((tmp_path / "log").read_text())
    assert (line["nonzero_parameters"], line["sparse_bytes"]) == (record.nonzero_parameters, record.sparse_bytes)


def test_tables_say_what_is_not_compacted_and_what_has_no_prior(capsys: pytest.CaptureFixture[str]) -> None:
    data = torch.randn(6, 5), torch.arange(6) % 3
    prune_at_random(cannot := Branching())
    measured = {"cannot": evaluate(cannot, data), "bare": evaluate(Bare(), data)}
    print_networks("title", json.loads(as_json({name: asdict(metrics) for name, metrics in measured.items()})))
    out = capsys.readouterr().out
    assert "Note: cannot is counted as it is, not compacted: Branching cannot be followed" in out
    assert "Note: bare" not in out
    row = next(line.split() for line in out.splitlines() if line.strip().startswith("bare") and "x" in line)
    deployed = measured["bare"].deployed
    assert deployed is not None
    assert row[1:] == ["1.0x", "53.0", "66", str(deployed.bytes), str(deployed.sparse_bytes), "0.0", "(0.0)"]


def test_the_progress_line_says_parameters_and_bytes(capfd: pytest.CaptureFixture[str]) -> None:
    model = BayesianNetwork(Bare())
    (record,) = fit(PointEstimate(model), (torch.randn(9, 5), torch.arange(9) % 3), epochs=1, progress=False).history
    with Progress("train", 0, 1, True) as bar:
        bar._last_line = -math.inf  # a line is due
        bar.epoch(record)
    assert f"1.0x (66 left, {record.sparse_bytes / 1000:.1f} kB)" in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("function", [compact, surviving_units])
def test_messages_name_no_function_that_was_not_called(function: Callable[[nn.Module], object]) -> None:
    """What it lacks is an argument of the same name in either."""
    with refuses("example", None, "Sequential") as error:
        function(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()))
    assert "compact(" not in str(error.value)


def test_a_file_read_back_counts_as_what_was_written(tmp_path: Path) -> None:
    net = mlp((30, 20, 10))
    prune_at_random(net)
    save_pruned(net, tmp_path / "file")
    x = torch.randn(1, 30)
    assert network_size(load_pruned(tmp_path / "file"), x) == network_size(net, x)
