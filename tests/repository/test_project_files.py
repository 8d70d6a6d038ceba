"""What stands in two project files is the same in both."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import yaml

import pyro_vd

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def read_yaml(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / name).read_text("utf-8"))
    return content


def test_the_citation_is_of_this_project() -> None:
    citation, project = read_yaml("CITATION.cff"), PROJECT["project"]
    assert (citation["title"], citation["license"]) == (project["name"], project["license"])
    assert citation["version"] == project["version"] == pyro_vd.__version__
    assert citation["authors"] == project["authors"]
    assert citation["abstract"] == project["description"]
    assert citation["keywords"] == project["keywords"]


def test_every_hook_is_a_check_of_make_test_and_installed_for_it() -> None:
    hooks = [hook for repo in read_yaml(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    makefile = (ROOT / "Makefile").read_text("utf-8")
    installed = " ".join(PROJECT["dependency-groups"]["lint"])
    assert len(hooks) == 5
    for hook in hooks:
        program = hook["entry"].split()[0].removeprefix(".venv/bin/")
        assert f"$(BIN)/{program}" in makefile
        assert {"lint-imports": "import-linter"}.get(program, program) in installed
        assert hook["language"] == "system"
