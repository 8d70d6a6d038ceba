"""One process at a time trains into the folder of a run; the second one is told who does, and changes nothing."""

from __future__ import annotations

import errno
import fcntl
import subprocess
from pathlib import Path

import pytest
from support import ENVIRONMENT, SMALL, check_refusal, command, contents, refused, run_cli

from pyro_vd._core.locks import FileLock


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_refused_where_another_process_trains(tmp_path: Path, resume: list[str]) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    lock = FileLock(folder / ".lock", keep=False)
    assert lock.acquire()
    before = contents(tmp_path)
    refused("train", "digits", *SMALL, "--out", folder, *resume, quoted=[f"output folder (='{folder}')", "in use", "process "])
    assert contents(tmp_path) == before
    lock.release()
    assert run_cli("train", "digits", *SMALL, "--out", folder, *resume, "--quiet")[0] == 0
    assert not (folder / ".lock").exists()


@pytest.mark.slow
def test_two_at_the_same_instant(tmp_path: Path) -> None:
    """One of the two trains, and the other one is refused, or comes when all is done."""
    line = command("train", "digits", *SMALL, "--train.epochs=20", "--resume", "--out", tmp_path / "run", "--quiet")
    pair = [subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT) for _ in "ab"]
    ends = [(*process.communicate(timeout=100), process.returncode) for process in pair]
    codes = sorted(code for *_, code in ends)
    assert codes in ([0, 2], [0, 0])
    for out, err, code in ends:
        if code:
            check_refusal((code, out, err), ["in use"])
    assert (tmp_path / "run" / "metrics.json").stat().st_size


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There it trains as without a lock; the error is what such a file system gives."""

    def refuse(file: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert run_cli("train", "digits", *SMALL, "--out", tmp_path / "run", "--quiet")[0] == 0
