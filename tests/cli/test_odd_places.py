"""Every command on a full disk, with a full TMPDIR, under encodings of few characters, without streams, and with odd names.

What a full standard output and further encodings do is in ``_core/test_terminal.py``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ENVIRONMENT, ROOT, SMALL, check_refusal, command, full_disk, run_cli

from pyro_vd import load_data

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="conditions of Linux")

MARKUP = "[x] a[/b] :cat: $a_{$"
"""Text that rich and matplotlib would take for more than text."""
WRITES = {"train", "compress", "prune", "compare", "report", "inspect", "animate", "export"}
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run that recorded frames."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    assert run_cli("train", "digits", *SMALL, "--train.frames=1", "--out", folder, "--quiet")[0] == 0
    return folder


def under(condition: str, run: Path, folder: Path, **environment: str) -> tuple[list[Any], set[str]]:
    """What each command of ``every_command.py`` ends with, and the names of files that are new in the folder."""
    folder.mkdir(parents=True)
    line = [sys.executable, str(ROOT / "tests" / "every_command.py"), condition, str(run), str(folder)]
    done = subprocess.run(line, capture_output=True, timeout=600, env={**ENVIRONMENT, **environment})
    if done.returncode == 3:
        pytest.skip(f"{condition}: {done.stderr.decode()}")
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    for *_, err in found["ends"]:
        assert "Traceback" not in err
    return found["ends"], set(found["new"])


def written(new: set[str]) -> None:
    """All files of all commands are there."""
    expected = {
        "new/metrics.json",
        "pruned.safetensors",
        "compare.png",
        "export.onnx",
        "export.pt2",
        "export.sparse",
        "compressed/small.safetensors",
    }
    assert new >= expected | {"run/report.html", "run/posterior.nc", "run/animation.gif", "run/first-layer.png"}


@pytest.mark.slow
@pytest.mark.long
def test_a_full_disk(tmp_path: Path, recorded: Path) -> None:
    ends, new = under("full disk", recorded, tmp_path / "disk")
    refused = {name for name, code, out, err in ends if code == 2}
    assert refused == WRITES
    for which, code, out, err in ends:
        if out:
            assert (code, err) == (0, ""), which
        else:
            assert err.splitlines()[-1].startswith("error: ")
            assert "No space left on device; nothing was changed" in err
    assert new == set()


@pytest.mark.slow
@pytest.mark.long
def test_a_full_folder_of_temporary_files(tmp_path: Path, recorded: Path) -> None:
    (temporary := tmp_path / "temporary").mkdir()
    ends, new = under("full TMPDIR", recorded, tmp_path / "out", TMPDIR=str(temporary))
    assert [code for _, code, *_ in ends] == [0] * len(ends), ends
    written(new)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "environment"),
    [
        pytest.param(MARKUP, ASCII, id="markup under ASCII"),
        pytest.param(os.fsdecode(b"\xe9t\xe9 \xff"), {"PYTHONIOENCODING": "cp1252"}, id="no text under cp1252"),
    ],
)
def test_odd_names(tmp_path: Path, recorded: Path, name: str, environment: dict[str, str]) -> None:
    ends, new = under("names", recorded, tmp_path / name, **environment)
    assert [code for _, code, *_ in ends] == [0] * len(ends), ends
    shown = "".join(name.encode("utf-8", "replace").decode().split())
    for which, _, out, _ in ends:
        if which != "recipes" and not out.startswith("data:"):
            assert shown in "".join(out.split()), "as it is, whatever the line breaks"
    written(new)


@pytest.mark.slow
@pytest.mark.long
def test_closed_standard_streams(tmp_path: Path, recorded: Path) -> None:
    ends, new = under("closed streams", recorded, tmp_path / "out")
    assert ends == [[which, 0, "", ""] for which, *_ in ends]
    written(new)


@pytest.mark.slow
@pytest.mark.long
def test_a_sweep(tmp_path: Path) -> None:
    """It goes on once there is room again, in another process: the one that starts the runs keeps its limit."""
    load_data("digits")  # scikit-learn is imported, which makes a semaphore in a file
    out = tmp_path / MARKUP
    line = ("sweep", "digits", "--grid", "train.lr=0.01,0.02", *SMALL, "--jobs=1", "--quiet", "--out", out)
    with full_disk(0):
        check_refusal(run_cli(*line), ["File too large"])
    with full_disk(9000):
        code, text, err = run_cli(*line)
    assert (code, err) == (1, "")
    assert text.count("nothing was changed") == 2
    done = subprocess.run(command(*line), capture_output=True, text=True, timeout=300, env=ENVIRONMENT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "".join(MARKUP.split()) in "".join(done.stdout.split())


@pytest.mark.slow
@pytest.mark.long
def test_an_experiment(tmp_path: Path) -> None:
    out = tmp_path / MARKUP
    line = ("experiment", "report-dropout-rates", "--quick", "--quiet", "--out", out)
    with full_disk(100):
        check_refusal(run_cli(*line), [str(tmp_path), "nothing was changed"])
    assert list(out.iterdir()) == []
    code, text, err = run_cli(*line)
    assert (code, err) == (0, "")
    assert "".join(MARKUP.split()) in "".join(text.split())
