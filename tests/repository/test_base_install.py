"""The base install, without any extra: what a pruned network needs, and one sentence for each thing that is missing."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support import ENVIRONMENT, ROOT
from torch import nn

from pyro_vd import save_pruned
from pyro_vd._core.extras import PACKAGES

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
BASE = [Requirement(line) for line in PROJECT["dependencies"]]


def needed(requirements: list[Requirement], found: set[str]) -> set[str]:
    """The names of the distributions that these requirements install, with all that those require in turn."""
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            needed([Requirement(line) for line in distribution(name).requires or ()], found)
    return found


@pytest.fixture(scope="module")
def base_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with pyro_vd and its base requirements, which are links to the installed ones."""
    folder = tmp_path_factory.mktemp("base")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in needed(BASE, set()):
        installed = distribution(name)
        for part in {file.parts[0] for file in installed.files or ()} - {"..", "__pycache__"}:
            if not (link := packages / part).exists():
                link.symlink_to(Path(str(installed.locate_file(part))))
    (packages / "pyro_vd").symlink_to(ROOT / "pyro_vd")
    return folder / "bin" / "python"


def run(interpreter: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != "PYTHONPATH"}
    line = [str(interpreter), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, env={**environment, "PYTHONSAFEPATH": "1"}, timeout=120)


def test_requirements_agree_with_the_sentences() -> None:
    """Every requirement of an extra is known to what names the extra; none is in the base install.

    `all` is every extra but Lightning and the trackers of experiments, which only some work with.
    """
    extras = {extra: [Requirement(line) for line in lines] for extra, lines in PROJECT["optional-dependencies"].items()}
    (everything,) = extras.pop("all")
    assert (everything.name, everything.extras) == ("pyro_vd", set(extras) - {"lightning", "mlflow", "tensorboard", "wandb"})
    listed = {(r.name, extra) for extra, requirements in extras.items() for r in requirements if r.name != "pyro_vd"}
    assert listed == {(name, extra) for name, (_, extra) in PACKAGES.items()}
    assert not {name for name, _ in listed} & {requirement.name for requirement in BASE}


WORKS = """
import sys, torch, pyro_vd
from pyro_vd.runtime import sparsify_runtime
net, x = pyro_vd.load_pruned(sys.argv[1]), torch.randn(6, 20)
small = pyro_vd.compact(net)
for other in (small, sparsify_runtime(small, [6])):
    torch.testing.assert_close(other(x), net(x))
assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in net.parameters())
for layout in ("dense", "sparse", "quantised"):
    pyro_vd.save_pruned(small, sys.argv[2], layout=layout)
    torch.testing.assert_close(pyro_vd.load_pruned(sys.argv[2])(x), small(x))
torch.testing.assert_close(pyro_vd.predict(small, x).log_p, small(x).log_softmax(-1).double(), check_dtype=False)
print(sorted({"pyro", "sklearn", "scipy", "rich", "matplotlib"} & set(sys.modules)))
"""


def pruned_network() -> nn.Sequential:
    """20 inputs, of which five are read; 12 units, of which four do anything; 3 classes."""
    net = nn.Sequential(nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 3))
    with torch.no_grad():
        net[0].weight[:, 5:] = 0
        net[0].weight[4:] = 0
        net[2].weight[:, 4:] = 0
    return net


@pytest.mark.slow
def test_a_pruned_network_is_loaded_run_and_made_smaller(base_python: Path, tmp_path: Path) -> None:
    save_pruned(pruned_network(), tmp_path / "net.safetensors")
    done = run(base_python, "-c", WORKS, tmp_path / "net.safetensors", tmp_path / "again.safetensors")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


SENTENCES = {
    "pyro_vd.BayesianNetwork": "pyro_vd.models needs pyro-ppl: pip install 'pyro_vd[train]'",
    "pyro_vd.prune": "pyro_vd.pruning needs pyro-ppl: pip install 'pyro_vd[train]'",
    "pyro_vd.fit": "pyro_vd.training needs pyro-ppl, rich: pip install 'pyro_vd[train]'",
    "pyro_vd.guides": "pyro_vd.guides needs pyro-ppl: pip install 'pyro_vd[train]'",
    "pyro_vd.inference": "pyro_vd.inference needs pyro-ppl: pip install 'pyro_vd[train]'",
    "pyro_vd.distributions": "pyro_vd.distributions needs pyro-ppl: pip install 'pyro_vd[train]'",
    "pyro_vd.to_inference_data": "pyro_vd.posterior needs pyro-ppl: pip install 'pyro_vd[train]'",
    "pyro_vd.load_data('digits')": "data 'digits' needs scikit-learn: pip install 'pyro_vd[train]'",
    "pyro_vd.load_data('mnist')": "data 'mnist' needs torchvision: pip install 'pyro_vd[vision]'",
    "pyro_vd.load_data(sys.prefix)": "a folder of images needs torchvision: pip install 'pyro_vd[vision]'",
    "pyro_vd.load_data(table, target='y')": "a table needs pandas: pip install 'pyro_vd[tables]'",
    "pyro_vd.data.load_table('a.parquet', 'y')": "a table needs pandas, pyarrow: pip install 'pyro_vd[tables]'",
    "pyro_vd.evaluate(net, (x, y))": "measuring a classifier needs scikit-learn: pip install 'pyro_vd[train]'",
    "pyro_vd.evaluation.ood_metrics(x, x)": "ood_metrics needs scikit-learn: pip install 'pyro_vd[train]'",
    "pyro_vd.save_pruned(wide, 'net', layout='quantised')": "a codebook of 100 values needs scikit-learn: "
    "pip install 'pyro_vd[train]'",
    "pyro_vd.plots": "pyro_vd.plots needs matplotlib, pillow: pip install 'pyro_vd[plots]'",
    "pyro_vd.load_run": "pyro_vd.workflow needs rich, pyyaml: pip install 'pyro_vd[train,cli]'",
    "pyro_vd.load_onnx('net')": "ONNX needs onnx, onnxruntime, onnxscript: pip install 'pyro_vd[onnx]'",
}

MISSING = f"""
import pathlib, sys, tempfile, torch, pyro_vd
from pyro_vd import InputError
net, wide = torch.nn.Linear(4, 2), torch.nn.Linear(25, 4)
x, y = torch.randn(4, 4), torch.tensor([0, 1, 0, 1])
(path := pathlib.Path(tempfile.mkdtemp()) / "a.csv").write_text("x,y\\n1,2\\n")
table = str(path)
assert "fit" in dir(pyro_vd)
for call, sentence in {SENTENCES!r}.items():
    try:
        eval(call)
    except InputError as error:
        assert isinstance(error, ImportError), error
        assert str(error) == sentence, error
    else:
        raise AssertionError(call)
"""


@pytest.mark.slow
def test_each_missing_package_is_one_sentence(base_python: Path) -> None:
    """At the first use, and never at ``import pyro_vd``."""
    done = run(base_python, "-c", MISSING)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_command_line_says_what_it_needs(base_python: Path) -> None:
    done = run(base_python, "-m", "pyro_vd", "train", "digits")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: pyro-vd needs rich, pyyaml: pip install 'pyro_vd[train,cli]'\n"
