"""Text is shown as it is, in any encoding; closed and full standard streams do no harm."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from support import ENVIRONMENT, command

from pyro_vd._core.terminal import console, discard_output, finish_output, prepare_streams
from pyro_vd.training.progress import Progress
from pyro_vd.workflow.sweep_progress import SweepProgress
from pyro_vd.workflow.tables import print_table

MARKUP = "[x] [red]a[/b] :cat: [/] \\[b]"
"""Text that rich would take for styles, an emoji, and an end without a start."""


def test_tables_and_bars_show_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(f"title {MARKUP}", [f"column {MARKUP}", "b"], [[f"cell {MARKUP}", MARKUP]])
    text = capsys.readouterr().out
    assert text.count(MARKUP) == 4
    with Progress(MARKUP, 0, 1, shown=True) as bar:
        bar.step()
    with SweepProgress(1, shown=True) as progress:
        progress.end(MARKUP, "finished")
    console(stderr=True).print(MARKUP)
    assert capsys.readouterr().err.count(MARKUP) >= 3


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437"])
def test_characters_that_an_encoding_lacks_are_replaced(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    prepare_streams()
    print("a ∞ \u2007\udcff b")
    print_table("title ∞", ["α"], [["1 ± 2 → θ"]])
    finish_output()
    shown = stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert shown.startswith("a ")
    assert "?" in shown


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full, a disk that is always full")
def test_a_full_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        print("lost")
        with pytest.raises(OSError, match="No space left") as caught:
            finish_output()
        assert caught.value.filename == "standard output"
        discard_output()  # and closing the file raises nothing


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full, a disk that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_on_a_full_disk(arguments: list[str], unbuffered: str) -> None:
    environment = {**ENVIRONMENT, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, timeout=100, env=environment)
    assert (done.returncode, done.stderr) == (2, "error: standard output: No space left on device\n")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_streams(tmp_path: Path, closed: str) -> None:
    """What the closed streams would show is lost; a file that the command opens is not overwritten by it."""
    for arguments, code in (("recipes",), 0), (("nosuch",), 2):
        line = ["sh", "-c", f'exec "$@" {closed}', "sh", *command(*arguments)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=100, env=ENVIRONMENT)
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        assert bool(done.stdout) == (" >&-" not in f" {closed}" and code == 0)
        assert bool(done.stderr) == ("2>&-" not in closed and code == 2)


def test_a_reader_that_has_gone() -> None:
    process = subprocess.Popen(command("recipes"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(100), said) == (141, b"")
