"""``benchmarks/networks.py`` and ``benchmarks/sparse_runtime.py``: what their tables say of a small network."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import networks
import pytest
import sparse_runtime
from zoo import specimens


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    yield
    logging.disable(logging.NOTSET)


def test_the_table_of_networks_says_what_works_and_what_does_not(capsys: pytest.CaptureFixture[str]) -> None:
    networks.main(["TransformerEncoder"])
    out, err = capsys.readouterr()
    head, rule, row = out.splitlines()
    name, parameters, prior, trains, _, *exports = [cell.strip() for cell in row.strip("|").split("|")]
    assert head.count("|") == rule.count("|") == row.count("|")
    (specimen,) = specimens("TransformerEncoder")
    assert (name, parameters) == (specimen.name, f"{networks.parameters(specimen.seeded()):,}")
    assert (prior, trains, exports) == ("94.5 %", "yes", ["any batch, any length"] * 2)
    assert not err


def test_a_stage_that_fails_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(specimen: object) -> None:
        raise ValueError("not today")

    monkeypatch.setattr(networks, "train", refuse)
    networks.main(["LSTM"])
    out, err = capsys.readouterr()
    assert out.splitlines()[2].split("|")[4].strip() == "no"
    assert err == "LSTM classifier: training: not today\n"


def test_the_table_of_sparse_layers(capsys: pytest.CaptureFixture[str]) -> None:
    sparse_runtime.main(["LSTM", "--calls", "2", "--layers"])
    lines = capsys.readouterr().out.splitlines()
    for layer in ("embedding", "recurrent", "head"):
        assert sum(line.split()[:1] == [layer] for line in lines) == len(sparse_runtime.BATCHES)
    assert sum("LSTM classifier" in line and line.strip().endswith("x") for line in lines) == len(sparse_runtime.BATCHES)
