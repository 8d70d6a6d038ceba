"""Spoilt files for every reader, in processes of their own: refused by a sentence, or read as they were written."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from readers import prepare
from support import ENVIRONMENT

RUN = Path(__file__).with_name("run.py")
IN_PROCESS = (
    *("recipe", "metrics.json", "metrics.jsonl", "log-alpha.jsonl", "pruned", "pruned-own", "posterior", "checkpoint"),
    *("torch-export", "csv", "texts", "frames", "npz", "idx", "image"),
    *(["onnx"] if find_spec("onnxscript") else []),
)
IN_CHILDREN = ("parquet", "journal", "netcdf", "arviz-netcdf")
"""Readers that start a process for a file."""


@pytest.mark.slow
@pytest.mark.parametrize(("cases", "names"), [(60, IN_PROCESS), (12, IN_CHILDREN)])
def test_spoilt_files(cases: int, names: tuple[str, ...]) -> None:
    """Many readers in one test: the imports and the seeds take longer than the cases of most."""
    done = subprocess.run(
        [sys.executable, str(RUN), str(cases), *names], capture_output=True, text=True, timeout=900, env=ENVIRONMENT
    )
    assert done.stdout, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    assert results == {name: {"cases": cases, "MB": results[name]["MB"], "findings": {}} for name in names}


@pytest.mark.slow
def test_no_reader_is_missed(tmp_path: Path) -> None:
    assert prepare(tmp_path).keys() == {*IN_PROCESS, *IN_CHILDREN}
