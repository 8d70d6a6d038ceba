"""The package: light to import, every public name in place, whole in sdist and wheel."""

from __future__ import annotations

import ast
import json
import pkgutil
import re
import subprocess
import sys
import tarfile
import zipfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
from support import ENVIRONMENT, ROOT, copy_checkout, python

import pyro_vd
from pyro_vd.runs import recipes

SUBMODULES = [m.name for m in pkgutil.walk_packages(pyro_vd.__path__, "pyro_vd.") if m.name != "pyro_vd.__main__"]

STUB = [node for node in ast.parse((ROOT / "pyro_vd/__init__.pyi").read_text()).body if isinstance(node, ast.ImportFrom)]
PUBLIC = {alias.name: f"pyro_vd.{node.module}" for node in STUB if node.module for alias in node.names}
PACKAGES = {alias.name for node in STUB if not node.module for alias in node.names}


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("pyro_vd", "torch pyro numpy sklearn torchvision arviz matplotlib rich"),
        ("pyro_vd.models", "sklearn torchvision arviz matplotlib"),
        (
            "pyro_vd.export.pruned_file, pyro_vd.evaluation.metrics, pyro_vd.data.loading",
            "pyro sklearn torchvision arviz matplotlib",
        ),
    ],
)
def test_imports_are_light(module: str, absent: str) -> None:
    done = python(f"import sys, {module}; print([name for name in {absent.split()} if name in sys.modules])")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_training_and_measuring_import_little() -> None:
    """What only other parts use, and what is slow to import, stays out of every process that trains."""
    absent = "torchmetrics transformers torchvision matplotlib arviz plotly lightning onnx optuna"
    code = f"""
import sys, torch, pyro_vd
x, y = torch.randn(20, 4), torch.arange(20) % 2
guide = pyro_vd.VariationalDropout(pyro_vd.BayesianNetwork(torch.nn.Linear(4, 2)))
pyro_vd.fit(guide, (x, y), epochs=1, progress=False)
print(pyro_vd.evaluate(guide, (x, y)).macro_f1 <= 1, [name for name in {absent.split()} if name in sys.modules])
"""
    done = python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True []\n", "")


def test_public_names() -> None:
    """Each is what its module defines, also after every submodule was imported, and no submodule can take its place."""
    assert set(pyro_vd.__all__) == set(PUBLIC)
    assert set(dir(pyro_vd)) >= set(PUBLIC) | PACKAGES  # what a shell completes
    assert 20 <= len(PUBLIC) <= 30
    assert not {f"pyro_vd.{name}" for name in PUBLIC} & set(SUBMODULES)
    for name in SUBMODULES:
        import_module(name)
    for name, module in PUBLIC.items():
        value = getattr(pyro_vd, name)
        assert value is getattr(import_module(module), name)
        assert not isinstance(value, ModuleType)
        assert value.__doc__, f"{name} says what it is"
    assert all(isinstance(getattr(pyro_vd, name), ModuleType) for name in PACKAGES)
    with pytest.raises(AttributeError, match="nosuch"):
        pyro_vd.nosuch  # noqa: B018
    with pytest.raises(ImportError):
        from pyro_vd import nosuch  # noqa: F401


STAR = """
import pydoc
import pyro, pyro.distributions, pyro.infer, pyro.nn, pyro.optim, torch
before = set(globals())
from pyro_vd import *
found = set(globals()) - before - {"before"}
modules = (pyro, pyro.distributions, pyro.infer, pyro.nn, pyro.optim, torch, torch.nn)
print(sorted(found), sorted(found & {name for module in modules for name in dir(module)}))
import pyro_vd
print(pydoc.render_doc(pyro_vd, renderer=pydoc.plaintext))
"""


@pytest.mark.slow
def test_star_import_and_help() -> None:
    """The star gives every function and class, none under a name that Pyro or torch uses; ``help`` shows their docstrings."""
    done = python(STAR)
    assert (done.returncode, done.stderr) == (0, "")
    first, _, shown = done.stdout.partition("\n")
    assert first == f"{sorted(PUBLIC)} []"
    assert pyro_vd.__doc__
    assert pyro_vd.__doc__.splitlines()[0] in shown
    assert all(re.search(rf"\b{name} = \w|\b{name}\(|class {name}\b", shown) for name in PUBLIC)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_what_a_package_offers_stays_itself(package: str) -> None:
    """No public name of a package is that of a module in it: importing the module would put it in the name's place."""
    found = import_module(f"pyro_vd.{package}")
    assert found.__doc__
    assert len(found.__doc__.strip().splitlines()) <= 6, "about five lines"
    assert found.__all__
    for name in found.__all__:
        value = getattr(found, name)
        assert value.__doc__, f"{name} says what it is"
        assert name in dir(found)
        assert f"pyro_vd.{package}.{name}" not in SUBMODULES


NAME_FIRST = f"""
import sys
from importlib import import_module
import pyro_vd
for name, module in {PUBLIC!r}.items():
    for loaded in [key for key in sys.modules if key.startswith("pyro_vd.")]:
        del sys.modules[loaded]
        vars(pyro_vd).pop(loaded.split(".")[1], None)
    value = getattr(pyro_vd, name)
    assert getattr(pyro_vd, name) is value is getattr(import_module(module), name), name
print(pyro_vd.__file__)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an sdist, and of the wheel made from it, of a copy of the checkout."""
    folder = tmp_path_factory.mktemp("build")
    copy_checkout(folder / "checkout")
    line = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(folder / "checkout")]
    environment = {key: value for key, value in ENVIRONMENT.items() if key != "PYTHONWARNINGS"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "dist"


def sources() -> set[str]:
    """What must be in both: every module, every stub, every recipe, and the mark that types are given."""
    folders = [path for path in (ROOT / "pyro_vd").iterdir() if path.is_dir() and path.name != "__pycache__"]  # links too
    kinds = (".py", ".pyi", ".yaml", ".typed")
    found = {path for folder in (ROOT / "pyro_vd", *folders) for path in folder.iterdir() if path.suffix in kinds}
    return {str(path.relative_to(ROOT)) for path in found}


def test_sdist_and_wheel_are_whole(built: Path) -> None:
    some = {"pyro_vd/guides/__init__.py", "pyro_vd/models/__init__.pyi", "pyro_vd/runs/digits.yaml", "pyro_vd/py.typed"}
    assert some < sources()
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert sources() <= inside
    assert {name.split("/")[0] for name in inside} == {"pyro_vd", f"pyro_vd-{pyro_vd.__version__}.dist-info"}
    with tarfile.open(sdist) as archive_:
        prefix = f"pyro_vd-{pyro_vd.__version__}/"
        files = {member.name.removeprefix(prefix) for member in archive_.getmembers() if member.isfile()}
    assert sources() | {"pyproject.toml", "README.md", "LICENSE"} <= files


@pytest.mark.slow
def test_installed_wheel_works(built: Path, tmp_path: Path) -> None:
    """Apart from the checkout; only the dependencies are the running interpreter's. Every name comes first once."""
    target = tmp_path / "site"
    (wheel,) = built.glob("*.whl")
    install = ["pip", "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", "--target", str(target)]
    subprocess.run([sys.executable, "-m", *install, str(wheel)], check=True, cwd=tmp_path)
    where = {"cwd": tmp_path, "env": {**ENVIRONMENT, "PYTHONPATH": str(target), "PYTHONSAFEPATH": "1"}}
    done = python(NAME_FIRST, **where)
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(done.stdout.strip()).is_relative_to(target)
    line = [sys.executable, "-m", "pyro_vd", "recipes", "--json"]
    listed = subprocess.run(line, capture_output=True, text=True, check=True, **where)  # type: ignore[call-overload]
    assert json.loads(listed.stdout).keys() == recipes().keys()
    scripts = (target / f"pyro_vd-{pyro_vd.__version__}.dist-info" / "entry_points.txt").read_text()
    assert "pyro-vd = pyro_vd.cli.main:main" in scripts
