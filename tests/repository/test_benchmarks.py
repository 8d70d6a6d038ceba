"""What belongs to the measured figures stays as the library is: scripts that import, recipes in the text that are the files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import ENVIRONMENT, python

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_can_be_imported(script: Path) -> None:
    code = (
        f"import runpy, sys; sys.path.insert(0, {str(script.parent)!r}); runpy.run_path({str(script)!r}, run_name='imported')"
    )
    done = python(code, env={**ENVIRONMENT, "PYTHONWARNINGS": "ignore"})
    assert (done.returncode, done.stderr) == (0, "")


def test_recipes_in_the_text_are_the_files() -> None:
    pages = "\n".join(page.read_text("utf-8") for page in sorted((ROOT / "docs" / "results").glob("*.md")))
    blocks = re.findall(r"```yaml\n(.*?)\n```", pages, flags=re.S)
    recipes = [path.read_text().rstrip() for path in (ROOT / "runs").glob("*.yaml")]
    assert len(blocks) >= 5
    for block in blocks:
        assert block in recipes, block.splitlines()[0]
