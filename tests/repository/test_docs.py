"""What the documentation links to is there, and the README is short and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import ROOT, python

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "runs/README.md")),
    *(
        page
        for page in sorted((ROOT / "docs").rglob("*.md"))
        if not {"_build", "reference", "jupyter_execute"} & set(page.parts)
    ),
]


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if target.is_relative_to(ROOT / "docs" / "reference"):  # `make docs` makes these pages, and finds broken links to them
            continue
        assert target.exists(), f"{link} in {page.name}"
        assert not anchor or anchor in anchors(target), f"{link} in {page.name}"


def test_every_page_is_in_the_contents() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        if page.is_relative_to(ROOT / "docs") and page.name != "index.md":
            assert re.search(rf"^{re.escape(str(page.relative_to(ROOT / 'docs').with_suffix('')))}$", index, re.MULTILINE), page


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) < 900


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", pytest.param("docs/start.md", marks=pytest.mark.long)])
def test_the_first_example(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    code, *_ = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    found = python(code, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "small.safetensors").exists()
    shown = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if shown:
        numbers = [[float(number) for number in re.findall(r"\d+\.?\d*", printed)] for printed in (shown[0], found.stdout)]
        assert re.sub(r"\d+\.?\d*", "", shown[0]) == re.sub(r"\d+\.?\d*", "", found.stdout)
        assert numbers[1] == pytest.approx(numbers[0], rel=0.1, abs=0.6), "to what other machines change by rounding"


GIVEN = """
import torch
from pyro_vd.networks import mlp
torch.manual_seed(0)
net, x = mlp([8, 40, 2]), torch.randn(400, 8)
y = (x[:, 0] > 0).long()
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for _ in range(100):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(net(x), y).backward()
    optimizer.step()
"""


@pytest.mark.long
def test_the_example_for_a_network_of_your_own(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, code = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    shorter = code.replace("target=20", "target=4, epochs=60, progress=False")
    found = python(GIVEN + shorter, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert "before" in found.stdout
    assert (tmp_path / "small.onnx").exists()
    assert (tmp_path / "small.html").exists()
