"""The pages of measured results are what ``benchmarks/measured.py`` writes, and the README has its figures from them."""

from __future__ import annotations

import re

from measured import RUNS
from measured_pages import CONTENTS, PAGES, pages, recorded
from measured_tables import narrow
from support import ROOT


def test_no_page_is_edited_by_hand() -> None:
    for path, text in pages(tuple(RUNS), recorded()).items():
        assert path.read_text("utf-8") == text, path.name


def test_every_section_has_a_page_and_every_recipe_a_section() -> None:
    titles = [section for page in CONTENTS.values() for section in page.sections]
    assert len(titles) == len(set(titles))
    assert set(recorded()) <= set(titles)
    assert set(RUNS) <= set(recorded())


def test_pages_have_no_tables_of_a_terminal() -> None:
    for path in PAGES.glob("*.md"):
        assert not set("─━│┃") & set(path.read_text("utf-8")), path.name


def test_wide_tables_are_turned_round() -> None:
    names = [f"p{place}" for place in range(9)]
    lines = [f"| at | {' | '.join(names)} |", "|---" * 10 + "|", f"| a | {' | '.join('012345678')} |"]
    turned = narrow(lines)
    assert turned[0] == "| at | a |"
    assert turned[2:4] == ["| p0 | 0 |", "| p1 | 1 |"]
    assert narrow(turned) == turned


def test_the_readme_has_its_figures_from_the_pages() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    results = readme.split("## Results")[1].split("\n## ")[0]
    pages = [*PAGES.glob("*.md"), ROOT / "docs" / "inference.md"]
    measured = "\n".join(path.read_text("utf-8") for path in pages)
    tables = re.sub(r"^\|.*\n(?=\|-)", "", results, flags=re.MULTILINE)  # without their heads
    tables = "\n".join(line for line in tables.splitlines() if line.startswith("|"))
    numbers = re.findall(r"\d[\d,.]*\d", tables)
    assert len(numbers) > 20
    for number in numbers:
        assert re.search(rf"(?<![\d.,]){re.escape(number)}(?![\d]|[.,]\d)", measured), number
