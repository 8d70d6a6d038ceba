"""``benchmarks/peers.py``: lines are kept and gone on with, as much is left as was asked for, and the page has the means."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pyro_vd import load_data
from pyro_vd.networks import mlp

DIGITS = load_data("digits")


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries of others
        return import_module("peers")


def lines(out: Path) -> list[str]:
    return (out / "lines.jsonl").read_text().splitlines()


def places(out: Path) -> list[str]:
    return ["--out", str(out), "--lines", str(out / "lines.jsonl")]


def test_lines_are_kept_and_gone_on_with(peers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    methods = {name: peers.METHODS[name] for name in ("magnitude, weights", "Laplace, diagonal Fisher, weights")}
    monkeypatch.setattr(peers, "METHODS", methods)
    command = ["--net", "digits", "--seeds", "1", "--epochs", "2", "--targets", "5", "20", *places(tmp_path)]
    peers.main(command)
    first = lines(tmp_path)
    assert len(first) == 5, "the dense network, and two methods for two targets"
    peers.main(command)
    assert lines(tmp_path) == first
    (tmp_path / "lines.jsonl").write_text("\n".join(first[:-1]) + "\n")
    peers.main(command)
    assert lines(tmp_path)[:-1] == first[:-1]
    timed = ("latency", "speed", "seconds")
    last, again = (
        {key: value for key, value in peers.json.loads(line).items() if key not in timed}
        for line in (first[-1], lines(tmp_path)[-1])
    )
    assert last == again, "resumed by the same seed"
    peers.main([*places(tmp_path), "--table", str(page := tmp_path / "page.md")])
    text = page.read_text()
    assert "## digits, 2 epochs, learning rate 0.001, 1 seed" in text
    assert text.count("| magnitude, weights |") == 2
    assert "8 of 8 rows" in text, "of the targets 10 to 300, and these two methods"
    assert len(page.parent.joinpath("lines.jsonl").read_text().splitlines()) == 5
    assert len(lines(tmp_path)) == 5, "nothing is trained for the page"


def test_a_posterior_is_computed_once_for_all_targets_and_its_seconds_count_for_each(peers: Any) -> None:
    calls: list[object] = []

    def posterior(task: Any) -> tuple[nn.Module, list[torch.Tensor]]:
        calls.append(task)
        return task.net, [layer.weight.detach().abs() for layer in peers.rivals_bayesian.layers(task.net)]

    torch.manual_seed(0)
    net, ranked = mlp([64, 20, 10]), peers.rivals_bayesian.Ranked(posterior)
    data = DIGITS.x_train, DIGITS.y_train
    for place, target in enumerate((4, 10)):
        small = ranked(peers.Task(net, data, target, 2, 1e-3))
        left = sum(int((weight != 0).sum()) for weight in small.parameters() if weight.ndim == 2)
        assert left <= (64 * 20 + 20 * 10) / target
        assert left > 0.7 * (64 * 20 + 20 * 10) / target, "compaction alone has removed more"
        assert (ranked.spared > 0) == (place == 1)
    assert len(calls) == 1
    ranked(peers.Task(mlp([64, 20, 10]), data, 4, 2, 1e-3))
    assert len(calls) == 2, "of another network"


def test_the_page_has_means_and_the_range_of_errors(peers: Any) -> None:
    line = {"net": "n", "epochs": 3, "lr": 0.1, "seed": 0, "target": 10, "method": "m", "error": 0.02, "compression": 10.0}
    line |= {"parameters": 1000, "sparse_bytes": 2000, "onnx_bytes": 4000, "latency": 2e-5, "speed": 3.0, "seconds": 7.0}
    other = {**line, "seed": 1, "error": 0.04, "seconds": 9.0}
    dense = {**line, "target": 1.0, "method": "dense"}
    rows = import_module("peers_page").rows([line, dense, other])
    assert rows[0].startswith("| – | dense | 2.00 |")
    assert rows[1] == "| 10 | m | 3.00 (2.00–4.00) | 10.0 | 1,000 | 2,000 | 4,000 | 20 | 3.0 | 8 |"
