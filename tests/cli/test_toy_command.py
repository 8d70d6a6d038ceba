"""A command and a file format that are made here appear beside the library's own: each is one file and one line in a list."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from support import run_cli

from pyro_vd import load_pruned
from pyro_vd.cli.commands import COMMANDS
from pyro_vd.cli.parsing import Parser
from pyro_vd.export.formats import FORMATS, Format


def count(arguments: list[str]) -> None:
    """Print how many weights of a file are not zero."""
    parser = Parser("count FILE [--times N]")
    parser.value("file", str, "a pruned file")
    parser.value("--times", int, "factor", default=1)
    values = parser.read(arguments)
    nonzero = sum(int(torch.count_nonzero(tensor)) for tensor in load_pruned(values.file).state_dict().values())
    print(json.dumps({"nonzero": values.times * nonzero}))


def test_a_command(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("pyro_vd.cli.count")
    module.run = count  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(COMMANDS, "count", "count the weights of a file that are not zero")
    assert "count the weights of a file" in run_cli("--help")[1]
    assert "factor" in run_cli("count", "--help")[1]
    code, out, _ = run_cli("count", finished_run / "pruned.safetensors", "--times", "2")
    wanted = sum(int(torch.count_nonzero(t)) for t in load_pruned(finished_run / "pruned.safetensors").state_dict().values())
    assert (code, json.loads(out)) == (0, {"nonzero": 2 * wanted})
    code, _, err = run_cli("count", finished_run / "pruned.safetensors", "--times", "x")
    assert code == 2
    assert "times (=x)" in err


def test_a_file_format(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Format(
        "a pickle of its own",
        ".toy",
        lambda net, path, example, info: torch.save(net, path),
        lambda path: torch.load(path, weights_only=False),
    )
    monkeypatch.setitem(FORMATS, "toy", toy)
    assert "toy: a pickle of its own" in " ".join(run_cli("export", "--help")[1].split())
    code, out, _ = run_cli("export", finished_run, "--format", "toy", "--out", tmp_path / "net.toy", "--json")
    assert (code, json.loads(out)["networks"]["toy"]["largest_difference"]) == (0, pytest.approx(0, abs=1e-4))
