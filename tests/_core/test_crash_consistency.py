"""An atomic write leaves the whole old file or the whole new one, whichever system call fails or kills the process."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from support import ENVIRONMENT
from system_calls import REFUSED, WRITTEN

from pyro_vd._core.storage import write_atomically


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has filters of system calls")
def test_whichever_system_call_fails_or_kills(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    line = [sys.executable, str(Path(__file__).parents[1] / "system_calls.py"), str(folder / "file")]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, env=ENVIRONMENT)
    if "the kernel takes no filter" in done.stderr:
        pytest.skip("the kernel takes no filter of system calls here")
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    found = Counter((what, code, content) for _, what, code, content, _ in ends)
    killed = -signal.SIGSYS
    allowed = {
        ("error", WRITTEN, "new"),  # of a call after the rename, that which ends the process
        ("error", REFUSED, "old"),
        ("kill", killed, "old"),
        ("kill", killed, "new"),
    }
    assert found.keys() <= allowed, ends
    assert found["error", REFUSED, "old"] >= 6, "at least open, write, its second part, sync, close and rename"
    assert found["kill", killed, "old"] >= 6
    left = [names for _, what, *_, names in ends if what == "error" and names != ["file"]]
    assert left == [], "an error leaves no temporary file"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_leads_to_the_file_that_is_written(tmp_path: Path, there: bool) -> None:
    """As where a program opens it: also where the link's file is not there yet."""
    real, link = tmp_path / "elsewhere" / "real", tmp_path / "link"
    real.parent.mkdir()
    if there:
        real.write_bytes(b"old")
    link.symlink_to(Path("elsewhere") / "real")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert not real.is_symlink()
    assert real.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["elsewhere", "link", "real"]


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    (tmp_path / "none").symlink_to("no/file")
    (tmp_path / "folder").symlink_to(tmp_path)
    before = sorted(tmp_path.iterdir())
    for name in ("one", "none", "folder"):
        with pytest.raises(OSError, match="nothing was changed") as caught:
            write_atomically(tmp_path / name, b"new")
        assert caught.value.filename == str(tmp_path / name)
        assert (tmp_path / name).is_symlink()
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("length", [230, 250, 255])
def test_names_as_long_as_a_file_system_allows(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("n" * length)
    for content in (b"one", b"two"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    with pytest.raises(OSError, match="nothing was changed"):
        write_atomically(tmp_path / ("n" * 256), b"one")
    assert list(tmp_path.iterdir()) == [path]


WRITE = """
import sys
from pathlib import Path
from pyro_vd._core.storage import write_atomically
path, letter = Path(sys.argv[1]), sys.argv[2].encode()
print("ready", flush=True)
sys.stdin.readline()
for size in range(1, 60):
    write_atomically(path, [letter * size * 100, letter * 50])
"""


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    """A reader meets the whole file of one of them at each moment."""
    path = tmp_path / "file"
    path.write_bytes(b"a" * 50)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    lines = [[sys.executable, "-c", WRITE, str(path), letter] for letter in "ab"]
    writers = [subprocess.Popen(line, env=ENVIRONMENT, **pipes) for line in lines]
    assert [writer.stdout and writer.stdout.readline() for writer in writers] == [b"ready\n"] * 2
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"go\n")
        writer.stdin.flush()
    met = set[bytes]()
    while any(writer.poll() is None for writer in writers):
        content = path.read_bytes()
        assert len(set(content)) == 1
        assert len(content) % 100 == 50
        met.add(content)
    for writer in writers:
        writer.communicate()
    assert [writer.returncode for writer in writers] == [0, 0]
    assert len({content[:1] for content in met}) == 2, "both wrote, or this test shows nothing"
    assert list(tmp_path.iterdir()) == [path]
