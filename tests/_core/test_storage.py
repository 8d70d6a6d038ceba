"""Files are whole or not there, and a checkpoint never runs anything."""

from __future__ import annotations

import io
import itertools
import json
import math
import os
import pickle
import stat
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from support import ANYTHING, SMALL, check_refusal, contents, full_disk, refuses, run_cli

from pyro_vd import load_pruned, save_pruned
from pyro_vd._core.sealed import seal_zip
from pyro_vd._core.storage import as_json, clear_temporaries, load_checkpoint, save_checkpoint, write_atomically


def test_write_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask, "readable as any new file is"


def test_failed_write_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        write_atomically(path, 3)  # type: ignore[arg-type]
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="nothing was changed"):
        write_atomically(folder, b"new")
    with pytest.raises(OSError, match="nothing was changed") as caught:
        write_atomically(tmp_path / "no" / "file", b"new")
    assert caught.value.filename == str(tmp_path / "no" / "file")
    assert contents(tmp_path) == {"file": contents(tmp_path)["file"]}
    assert path.read_bytes() == b"old"


def interrupt(number: int) -> Callable[[FrameType, str, Any], Any]:
    """For sys.settrace: KeyboardInterrupt before the ``number``-th instruction from now, in whatever function that is."""
    left = number

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if not left:
            raise KeyboardInterrupt
        return trace

    return trace


def test_interrupted_anywhere(tmp_path: Path) -> None:
    """Signal handlers raise between any two instructions. The file is the old or the new one, alone; no descriptor is left."""
    path = tmp_path / "file"
    descriptors = len(os.listdir("/dev/fd"))  # noqa: PTH208
    found = []
    for number in itertools.count(1):
        path.write_bytes(b"old")
        tracing = sys.gettrace()
        try:
            sys.settrace(interrupt(number))
            write_atomically(path, b"new")
            break
        except KeyboardInterrupt:
            found.append(path.read_bytes())
        finally:
            sys.settrace(tracing)
        assert list(tmp_path.iterdir()) == [path]
        assert len(os.listdir("/dev/fd")) == descriptors  # noqa: PTH208
    assert found.count(b"old") > 50
    assert found == sorted(found, reverse=True), "first the old file, then the new one"
    assert found[-1] == b"new"


@pytest.mark.parametrize(("limit", "written"), [(100, []), (15_000, ["metrics.jsonl", "recipe.yaml"])])
def test_full_disk_while_training(tmp_path: Path, limit: int, written: list[str]) -> None:
    """At 15,000 bytes the recipe and the first line of the log fit on the disk, a checkpoint does not."""
    out = tmp_path / "out"
    with full_disk(limit):
        result = run_cli("train", "digits", *SMALL, "--quiet", "--out", out)
    check_refusal(result, ["checkpoint-pretrain.pt" if written else "recipe.yaml", "nothing was changed"])
    assert sorted(contents(out)) == written
    code, _, err = run_cli("train", "digits", *SMALL, "--quiet", "--out", out, "--resume")
    assert code == 0, err


def test_full_disk_while_replacing(tmp_path: Path, finished_run: Path) -> None:
    path = tmp_path / "pruned.safetensors"
    path.write_bytes(b"old")
    net = load_pruned(finished_run / "pruned.safetensors")
    with full_disk(1000), pytest.raises(OSError, match="nothing was changed"):
        save_pruned(net, path)
    assert path.read_bytes() == b"old"
    with full_disk(1000):
        result = run_cli("prune", finished_run, "--threshold=1", "--out", tmp_path / "new")
    check_refusal(result, [str(tmp_path / "new"), "nothing was changed"])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_what_a_killed_process_leaves_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[Path] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: there.extend(tmp_path.iterdir()))
    write_atomically(tmp_path / "file", b"whole")
    assert len(there) == 1, "a temporary file, beside the file to come"
    there[0].write_bytes(b"hal")
    (tmp_path / ".mine").write_text("kept")
    clear_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", "file"]


def test_checkpoint_comes_back(tmp_path: Path) -> None:
    state = {"tensor": torch.randn(3), "nested": {"list": [1, 2.5, None, "text"], "inf": math.inf}}
    save_checkpoint(tmp_path / "c.pt", state)
    again = load_checkpoint(tmp_path / "c.pt")
    assert torch.equal(again.pop("tensor"), state.pop("tensor"))
    assert {key: again[key] for key in state} == state


class Evil:
    """Unpickled, it writes a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.victim,)


@pytest.mark.parametrize("wrap", ["pickle", "torch"])
def test_checkpoint_never_runs_code(tmp_path: Path, wrap: str) -> None:
    path, victim = tmp_path / "c.pt", tmp_path / "victim"
    if wrap == "pickle":
        path.write_bytes(pickle.dumps({"format": "pyro_vd checkpoint 3", "evil": Evil(victim)}))
    else:
        torch.save({"format": "pyro_vd checkpoint 3", "evil": Evil(victim)}, buffer := io.BytesIO())
        path.write_bytes(seal_zip(buffer))  # with a right digest
    with refuses(str(path)):
        load_checkpoint(path)
    assert not victim.exists()
    torch.load(path, weights_only=False) if wrap == "torch" else pickle.loads(path.read_bytes())
    assert victim.exists(), "it would have run, or this test shows nothing"


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"PK\x03\x04", pickle.dumps({"format": "x"}), b"\x80\x02."])
def test_foreign_checkpoint(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.pt").write_bytes(content)
    with refuses(str(tmp_path / "c.pt"), ANYTHING, tmp_path / "c.pt"):
        load_checkpoint(tmp_path / "c.pt")


def test_truncated_and_foreign_torch_files(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"tensor": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:-500])
    with refuses(str(path)):
        load_checkpoint(path)
    for foreign in ({"state": torch.zeros(1)}, torch.zeros(2), OrderedDict(a=torch.zeros(1))):
        torch.save(foreign, path)
        with refuses(str(path)) as caught:
            load_checkpoint(path)
        assert not caught.value.has_value, "without a digest, nothing is read"
        path.write_bytes(seal_zip(io.BytesIO(path.read_bytes())))
        with refuses(str(path), None, "pyro_vd checkpoint 3"):
            load_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no checkpoint")
    with refuses(str(path)):
        load_checkpoint(path)


def test_json_has_no_nan_and_no_infinity() -> None:
    text = as_json({"a": [math.nan, math.inf, 1.5], "b": {"c": (-math.inf, None, True, 2)}})
    assert json.loads(text, parse_constant=pytest.fail) == {"a": [None, None, 1.5], "b": {"c": [None, None, True, 2]}}


def test_json_has_lists_of_numbers_in_one_line() -> None:
    content = {"units": [0, 1, 2], "shares": [0.5, math.nan], "text": ["[\n  1,\n  2\n]"], "none": [], "deep": [[1, 2], [3]]}
    text = as_json(content, indent=2)
    assert json.loads(text) == json.loads(as_json(content))
    assert '  "units": [0, 1, 2],\n  "shares": [0.5, null],\n' in text
    assert "[1, 2],\n" in text
