"""What a user's type checker sees of an editable install: the package, its types, and no public name without one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ENVIRONMENT, copy_checkout

SCRIPT = """
import pyro_vd
from pyro_vd.models import Normal
guide = pyro_vd.VariationalDropout(pyro_vd.BayesianNetwork(pyro_vd.networks.mlp([4, 3]), likelihood=Normal()))
reveal_type(guide)
reveal_type(pyro_vd.prune(guide))
pyro_vd.KLWeight(value="much")
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a script, and in ``env`` an environment with an editable install; the rest is the running interpreter's."""
    folder = tmp_path_factory.mktemp("user")
    copy_checkout(folder / "checkout")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    others = [path for path in sys.path if Path(path).name == "site-packages"]
    (packages / "others.pth").write_text("\n".join(others))
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "env/bin/python"), "--disable-pip-version-check"]
    install = [
        *pip,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--no-build-isolation",
        "--editable",
        str(folder / "checkout"),
    ]
    done = subprocess.run(install, capture_output=True, text=True, cwd=folder, env=environment(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "script.py").write_text(SCRIPT)
    return folder


def environment(folder: Path) -> dict[str, str]:
    """The new environment, active; without it a type checker could read the checkout from the path."""
    kept = {key: value for key, value in ENVIRONMENT.items() if key not in ("PYTHONPATH", "PYTHONWARNINGS")}
    return {**kept, "PATH": f"{folder / 'env/bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(folder / "env")}


def check(folder: Path, module: str, *arguments: str) -> str:
    line = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(line, capture_output=True, text=True, cwd=folder, env=environment(folder), timeout=600)
    return done.stdout + done.stderr


@pytest.mark.slow
def test_mypy_finds_the_package(user: Path) -> None:
    pytest.importorskip("mypy", reason="of the dependency group lint")
    ours_alone = "[mypy]\nfollow_imports = skip\n[mypy-pyro_vd.*]\nfollow_imports = normal\n"  # seconds, not minutes
    (user / "mypy.ini").write_text(ours_alone)
    said = check(user, "mypy", "--python-executable", str(user / "env/bin/python"), "script.py")
    assert 'Revealed type is "pyro_vd.guides.variational_dropout.VariationalDropout"' in said
    assert 'Argument "value" to "KLWeight" has incompatible type "str"' in said
    assert "import-not-found" not in said
    assert "import-untyped" not in said


@pytest.mark.slow
def test_pyright_finds_the_package(user: Path) -> None:
    pytest.importorskip("basedpyright", reason="of the dependency group lint")
    said = check(user, "basedpyright", "script.py")
    assert 'Type of "guide" is "VariationalDropout"' in said
    assert 'Type of "pyro_vd.prune(guide)" is "Module"' in said
    assert 'Argument of type "Literal[\'much\']" cannot be assigned to parameter "value"' in said
    assert "could not be resolved" not in said


NOT_OURS = re.compile(r"No docstring found.*|Type of metaclass unknown|[^\n]* is partially unknown(?!.*Unknown).*", re.DOTALL)
"""Said of Pyro's distributions, whose ``TorchDistributionMixin`` inherits from ``typing.Callable``, and of what is built on
them. A docstring may be inherited."""


@pytest.mark.slow
def test_every_public_name_has_a_type(user: Path) -> None:
    """As pyright counts them: a type that another checker could infer differently is none. Scripts are not public."""
    pytest.importorskip("basedpyright", reason="of the dependency group lint")
    said = json.loads(check(user, "basedpyright", "--verifytypes", "pyro_vd", "--ignoreexternal", "--outputjson"))
    symbols = said["typeCompleteness"]["symbols"]
    assert len(symbols) > 500
    found = [
        f"{symbol['name']}: {diagnostic['message']}"
        for symbol in symbols
        if not symbol["isTypeKnown"] and not symbol["name"].startswith("pyro_vd.runs.")
        for diagnostic in symbol["diagnostics"]
        if not NOT_OURS.fullmatch(diagnostic["message"])
    ]
    assert found == []
