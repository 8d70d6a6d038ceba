"""``benchmarks/inference.py``: what its tables say of a small run. Speed is not tested: that is what it measures."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from compaction_support import prune_at_random
from torch import nn

from pyro_vd import Dataset, compact, load_pruned, save_pruned
from pyro_vd.evaluation.score import score_of
from pyro_vd.export.formats import FORMATS
from pyro_vd.networks import conv_classifier, lstm_classifier, mlp
from pyro_vd.networks.layers import widths
from pyro_vd.workflow.recipe_files import parse_recipe

ARGUMENTS = {"vocabulary": 200, "classes": 2, "width": 12, "hidden": 9}


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    return import_module("inference")


def test_every_form_has_the_same_error(benchmark: Any, tmp_path: Path) -> None:
    masked = mlp((20, 15, 12, 4)).eval()
    prune_at_random(masked)
    small, data = compact(masked), (torch.randn(500, 20), torch.randint(4, (500,)))
    rows = {row[0]: row[1:] for row in benchmark.file_rows(masked, small, data, tmp_path)}
    nets = benchmark.forms(masked, masked, data[0], tmp_path / "net.onnx" if benchmark.HAVE_ONNX else None)
    wanted = f"{round(500 * score_of(masked, data).value)} of 500"
    assert {name: benchmark.wrong(net, data) for name, net in nets.items()} == dict.fromkeys(nets, wanted)
    assert set(nets) >= {"dense", "masked", "CSR", "compact", "compact CSR", "chosen", "SciPy"}
    assert ("ONNX Runtime" in nets) == benchmark.HAVE_ONNX == ("compact, onnx" in rows)
    quantised = load_pruned(tmp_path / f"net{FORMATS['quantised'].suffix}")
    for name, (*_, found) in rows.items():
        assert found == (benchmark.wrong(quantised, data) if name == "compact, quantised" else wanted)


@pytest.mark.parametrize("kind", ["convolutions", "recurrent"])
def test_other_networks_have_forms_too(benchmark: Any, kind: str) -> None:
    net, x = (conv_classifier((8, 8), 4, 4), torch.randn(1100, 8, 8)) if kind == "convolutions" else recurrent()
    prune_at_random(net.eval())
    data = x, net(x).argmax(-1)
    nets = benchmark.forms(net, net, x, None)
    assert {name: benchmark.wrong(form, data) for name, form in nets.items()} == dict.fromkeys(nets, "0 of 1100")
    assert set(nets) == {"dense", "masked", "compact", "chosen"}


def recurrent() -> tuple[nn.Module, torch.Tensor]:
    return lstm_classifier(30, 3, 6, 5), torch.randint(30, (1100, 7))


def test_slow_networks_take_few_calls(benchmark: Any) -> None:
    def slow(x: torch.Tensor) -> None:
        time.sleep(0.03)

    times = benchmark.latencies({"dense": slow, "fast": abs}, torch.ones(2), 1000, 0.01)
    assert 5 <= len(times["dense"]) <= 20
    assert len(times["fast"]) <= 20


def test_bytes_are_the_files(benchmark: Any, tmp_path: Path) -> None:
    masked = mlp((20, 15, 4)).eval()
    prune_at_random(masked)
    rows = benchmark.file_rows(masked, compact(masked), (torch.randn(9, 20), torch.zeros(9)), tmp_path)
    save_pruned(masked, tmp_path / "again")
    dense = (tmp_path / "again").stat().st_size
    suffixes = {name: form.suffix for name, form in FORMATS.items() if name != "onnx" or benchmark.HAVE_ONNX}
    assert [row[0] for row in rows] == ["dense, safetensors", *(f"compact, {name}" for name in suffixes)]
    assert rows[0][1:4] == [f"{dense:,}", "100.00", "1.0x"]
    for (_, size, share, smaller, _), suffix in zip(rows[1:], suffixes.values(), strict=True):
        found = (tmp_path / f"net{suffix}").stat().st_size
        assert (size, share, smaller) == (f"{found:,}", f"{100 * found / dense:.2f}", f"{dense / found:.1f}x")


def test_rows(benchmark: Any) -> None:
    net = mlp((4, 3, 2))
    with torch.no_grad():
        net[1].weight[:, 2] = 0
    assert benchmark.size_row("masked", net, torch.randn(3, 4)) == ["masked", "4-3-2", "23", "15", "36", "30"]
    measured = {"dense": [4e-6] * 100, "this": [1e-6] * 50 + [2e-6] * 51}
    rows = [["dense", "4.0", "4.0", "16,000,000", "1.00x"], ["this", "2.0", "2.0", "32,000,000", "2.00x"]]
    assert benchmark.speed_rows(measured, 64) == rows


def test_the_table_of_speeds(benchmark: Any) -> None:
    times = {1: {"dense": [4e-6] * 3, "ONNX Runtime": [1e-6, 2e-6, 9e-6]}, 64: {"dense": [1e-3], "ONNX Runtime": [2e-3]}}
    columns, rows = import_module("inference_page").speeds(times)
    assert columns == ["form", "batch 1", "batch 64"]
    assert rows == [["`dense`", "4 µs", "1,000 µs"], ["ONNX Runtime", "2.00", "0.50"]]


def test_the_whole_of_it(
    benchmark: Any,
    finished_run: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)  # threads that wait for cores other tests use take minutes
    benchmark.main([str(finished_run), "--calls", "10", "--table", str(page := tmp_path / "page.md")])
    out = capsys.readouterr().out
    for text in ("nominal FLOPs", "effective FLOPs", "compact, quantised", "wrong on the test data", "p99 µs", "examples/s"):
        assert text in out
    for batch in (1, 16, 64, 256, 1024):
        assert f"batch {batch}, 1 thread(s), 10 calls" in out
    written = page.read_text()
    for text in (
        f"## {finished_run.name}, 1 thread",
        "| `chosen` |",
        "up to a batch of 4; at a batch of 1",
        "| compact, sparse |",
    ):
        assert text in written
    (row,) = [line for line in written.splitlines() if line.startswith("| `dense` |")]
    assert row.count(" µs") == 5


def units(kind: str, inputs: int, count: int) -> dict[str, Any]:
    """An entry of ``compact.units`` in ``metrics.json``."""
    left = {"inputs": list(range(inputs)), "units": list(range(count))}
    return {"kind": kind, **left, "all_inputs": 200, "all_units": 200}


UNITS = {"embedding": units("Embedding", 30, 7), "lstm.l0": units("LSTM", 7, 5), "head": units("Linear", 5, 2)}


@pytest.mark.parametrize("left", ["30-7-5 (embedding: 30 of 200 rows)", UNITS], ids=["earlier version", "by layer"])
def test_a_network_in_the_place_of_one_whose_weights_are_gone_has_its_sizes(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: object
) -> None:
    made = import_module("inference_stand_in")
    layers = {"embedding.weight": 40, "lstm.weight_ih_l0": 60, "lstm.weight_hh_l0": 90, "head.weight": 8}
    pruned = {"layers": [{"site": site, "nonzero": count} for site, count in layers.items()]}
    metrics = {"networks": {"pruned": pruned}, "compact": {"units": left}}
    recipe = parse_recipe({"data": {"name": "imdb"}, "model": {"class": "pyro_vd.networks.lstm_classifier", "args": ARGUMENTS}})
    x = torch.randint(200, (50, 9))
    monkeypatch.setattr(made, "read_metrics", lambda folder: metrics)
    monkeypatch.setattr(made, "recipe_of", lambda folder: None)
    monkeypatch.setattr(made, "parse_recipe", lambda content: recipe)
    monkeypatch.setattr(made, "data_of", lambda recipe, folder: Dataset("x", x, x[:, 0] % 2, x, x[:, 0] % 2))
    dense, masked, (inputs, y) = made.stand_in(tmp_path, None)
    assert {site: int(masked.get_parameter(site).count_nonzero()) for site in layers} == layers
    assert (dense.get_parameter("embedding.weight") != 0).all()
    assert list(widths(compact(masked, x[:2])))[1:] == [7, 5, 2]
    assert torch.equal(masked(inputs).argmax(-1), y)
