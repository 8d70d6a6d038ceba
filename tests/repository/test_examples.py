"""Every public name of the package has an example in its docstring, and the examples do what they show."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest

import pyro_vd

WITHOUT = {"CompressResult", "ProcessError"}  # the example of compress shows the first; the second needs processes
NAMES = [name for name in pyro_vd.__all__ if name not in WITHOUT]


@pytest.mark.parametrize("name", NAMES)
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    text = inspect.getdoc(getattr(pyro_vd, name)) or ""
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert test.examples, name
    said: list[str] = []
    found = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=said.append)
    assert not found.failed, "".join(said)
