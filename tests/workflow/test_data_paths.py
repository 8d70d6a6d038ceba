"""Paths of data that are no text are refused before the training: the files of a run could not hold them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support import SMALL, contents, refused, write_npz

BROKEN = os.fsdecode(b"\xe9t\xe9")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
@pytest.mark.parametrize("key", ["name", "dir"])
def test_a_path_that_is_no_text(tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given itself, or by a relative path in such a folder."""
    (folder := tmp_path / BROKEN).mkdir()
    write_npz(folder / "a.npz")
    before = contents(tmp_path)
    given = folder / "a.npz" if key == "name" else folder
    refused("train", "digits", *SMALL, f"--data.{key}={given}", "--out", tmp_path / "out", quoted=[f"data.{key}", "UTF-8"])
    monkeypatch.chdir(folder)
    relative = "a.npz" if key == "name" else "."
    refused("train", "digits", *SMALL, f"--data.{key}={relative}", "--out", tmp_path / "out", quoted=[f"data.{key}", "UTF-8"])
    assert contents(tmp_path) == before
    assert not (tmp_path / "out").exists()
