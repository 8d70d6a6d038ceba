"""``pyro-vd export``: what it writes, measures and refuses."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from support import contents, python, refused, run_cli

from pyro_vd import compact, load_data, load_pruned, load_run, save_pruned
from pyro_vd.evaluation.predictors import outputs
from pyro_vd.evaluation.score import score_of
from pyro_vd.export.formats import FORMATS
from pyro_vd.export.pruned_file import read_info
from pyro_vd.networks.sizes import layer_sizes

MISSING = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(name == "onnx" and bool(MISSING), reason=f"not installed: {MISSING}"))
    for name in FORMATS
]


@pytest.fixture
def run(tmp_path: Path, finished_run: Path) -> Path:
    """A copy of the finished run."""
    return shutil.copytree(finished_run, tmp_path / "run")


def exported(*arguments: str | Path) -> Any:
    code, out, err = run_cli("export", *arguments, "--json")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    return json.loads(out, parse_constant=pytest.fail)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [(), ("--no-compact",)], ids=["compact", "as it is"])
def test_every_format(run: Path, name: str, options: tuple[str, ...]) -> None:
    before = contents(run)
    result = exported(run, "--format", name, *options)
    out = run / f"pruned{FORMATS[name].suffix}"
    assert (result["file"], result["data"]) == (str(out), "digits")
    after = contents(run)
    assert after.pop(out.name)
    assert after == before, "nothing else is changed"
    file, data, validation = run / "pruned.safetensors", load_data("digits"), load_run(run).validation
    assert validation is not None
    masked = load_pruned(file)
    small = masked if options else compact(masked, data.x_test[:1])
    net = FORMATS[name].load(out, small)
    dense, written = result["networks"]["dense safetensors"], result["networks"][name]
    for measured, path, network, weights in ((dense, file, masked, masked), (written, out, net, small)):
        difference = (outputs(network, data.x_test) - outputs(masked, data.x_test)).abs().max().item()
        assert measured == {
            "bytes": path.stat().st_size,
            "parameters": sum(parameter.numel() for parameter in weights.parameters()),
            "nonzero": sum(layer.nonzero for layer in layer_sizes(weights)),
            "error": score_of(network, data.test).value,
            "validation_error": score_of(network, validation).value,
            "largest_difference": pytest.approx(difference, abs=1e-6),
        }
    if name != "quantised":
        assert written["largest_difference"] < 1e-5
        assert written["error"] == dense["error"]
    if name not in ("onnx", "torch"):
        assert repr(net) == repr(small)
        assert read_info(out) == read_info(file)
    if name == "safetensors" and options:
        assert out.read_bytes() == file.read_bytes()


def test_table(run: Path) -> None:
    code, out, err = run_cli("export", run, "--format=sparse", "--out", run / "mine")
    assert (code, err) == (0, "")
    net = json.loads((run / "metrics.json").read_text())
    for text in (
        str(run / "mine"),
        "test data of digits",
        "validation error %",
        "outputs off by",
        f"{100 * net['networks']['pruned']['error']:.2f}",
        "1.0x",
    ):
        assert text in out
    assert f"{(run / 'mine').stat().st_size:,}" in out
    assert f"{100 * net['validation_error']:.2f}" in out


def test_formats_are_those_that_the_command_takes() -> None:
    code, out, _ = run_cli("export", "--help")
    assert code == 0
    assert f"{{{','.join(FORMATS)}}}" in out


@pytest.mark.parametrize("name", NAMES)
def test_an_existing_target_is_left(run: Path, name: str) -> None:
    """Said before anything is computed: the network itself may be broken."""
    for target, options in ((run / "mine", ["--out", run / "mine"]), (run / f"pruned{FORMATS[name].suffix}", [])):
        target.write_text("mine")
        (run / "pruned.safetensors").write_bytes(b"broken")
        before = contents(run)
        refused("export", run, "--format", name, *options, quoted=[str(target), "--out"])
        assert contents(run) == before


def test_bad_input_writes_nothing(tmp_path: Path, run: Path) -> None:
    file = run / "pruned.safetensors"
    save_pruned(torch.nn.Sequential(torch.nn.Linear(3, 2)), run / "other.safetensors")
    before = contents(tmp_path)
    sparse = "--format=sparse"
    refused("export", run, "--format=pickle", quoted=["format (=pickle)", "'safetensors', 'sparse'"])
    refused("export", run, quoted=["--format"])
    refused("export", tmp_path / "nowhere", sparse, quoted=[f"source (='{tmp_path / 'nowhere'}')"])
    refused("export", tmp_path, sparse, quoted=[f"{tmp_path} holds no run", "recipe.yaml"])
    refused("export", run / "recipe.yaml", sparse, quoted=[str(run / "recipe.yaml"), "safetensors"])
    refused("export", file, sparse, "--data=nosuch", quoted=["data (='nosuch')", "digits"])
    for command in (["export", sparse], ["evaluate"]):
        refused(*command, run / "other.safetensors", quoted=[str(run / "other.safetensors"), "--data"])
    refused("export", run / "other.safetensors", sparse, "--data=digits", quoted=["test data", "(64,)"])
    refused("export", file, sparse, "--out", tmp_path / "no" / "such", quoted=[str(tmp_path / "no" / "such")])
    assert contents(tmp_path) == before


def test_without_the_extra(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    before = contents(run)
    refused("export", run, "--format=onnx", quoted=["ONNX", "onnxruntime", "pip install 'pyro_vd[onnx]'"])
    assert contents(run) == before


WITHOUT_PYRO = """
import sys
sys.modules["pyro"] = None
from pyro_vd.cli import main as cli
cli.main(["export", sys.argv[1], "--format", "quantised", "--json"])
"""


@pytest.mark.slow
def test_a_file_where_pyro_is_not_installed(run: Path) -> None:
    """In a process of its own, where a warning would be an error: one JSON object, and nothing else printed."""
    done = python(WITHOUT_PYRO, run / "pruned.safetensors")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert Path(result["file"]).stat().st_size == result["networks"]["quantised"]["bytes"]
    assert result["networks"]["quantised"]["validation_error"] is None
