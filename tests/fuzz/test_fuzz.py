"""200 spoilt files for every reader, in processes of their own: refused by a sentence, or read as they were written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ENVIRONMENT

RUN = Path(__file__).with_name("run.py")
READERS = {
    *(
        "recipe",
        "metrics.json",
        "metrics.jsonl",
        "log-alpha.jsonl",
        "pruned",
        "pruned-own",
        "posterior",
        "checkpoint",
        "torch-export",
    ),
    *("csv", "parquet", "texts", "journal", "frames", "npz", "idx", "image", "netcdf", "arviz-netcdf"),
}


@pytest.mark.slow
def test_spoilt_files() -> None:
    """All readers in one test: the imports and the seeds take longer than the cases of most."""
    done = subprocess.run([sys.executable, str(RUN), "200"], capture_output=True, text=True, timeout=900, env=ENVIRONMENT)
    assert done.stdout, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    assert {name: result["findings"] for name, result in results.items() if result["findings"]} == {}
    assert results.keys() - {"onnx"} == READERS
    assert all(result["cases"] >= 25 for result in results.values())
