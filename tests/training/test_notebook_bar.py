"""In a notebook the progress bar is one text, of which the last state is saved with the notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import ENVIRONMENT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

CELL = """
import torch
from pyro_vd import VariationalDropout, fit
from pyro_vd.models import MLP

guide = VariationalDropout(MLP((4, 3)))
result = fit(guide, (torch.randn(25, 4), torch.arange(25) % 3), epochs=5, batch_size=10)
"""
FAILS = """
def fail(x):
    if len(x) < 10:
        raise RuntimeError("in the last batch")
    return x

fit(guide, (torch.randn(25, 4), torch.arange(25) % 3), epochs=5, batch_size=10, augment=fail)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the client of the kernel, in this process
def test_a_saved_notebook_shows_the_bar(tmp_path: Path) -> None:
    cells = [nbformat.v4.new_code_cell(code) for code in (CELL, FAILS)]
    notebook: Any = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", allow_errors=True).execute(env=ENVIRONMENT)
    nbformat.write(notebook, tmp_path / "saved.ipynb")
    trained, failed = (cell.outputs for cell in nbformat.read(tmp_path / "saved.ipynb", 4).cells)
    assert [output.output_type for output in trained] == ["display_data"]
    (text,) = trained[0].data.values()
    assert "15/15" in text
    assert "epoch 5 loss" in text
    assert "\n" not in text
    assert [output.output_type for output in failed] == ["display_data", "error"]
    assert "2/15" in failed[0].data["text/plain"]
