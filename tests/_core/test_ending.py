"""``end_process``: nothing half written is left, the message is one line, and a forked process spares what is its parent's."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import python

WRITING = """
import os, signal, sys
from pathlib import Path
from pyro_vd._core.ending import end_process, temporary_folder
from pyro_vd._core.storage import write_atomically

signal.signal(signal.SIGTERM, lambda number, frame: end_process(128 + number, "ended"))
folder = Path(sys.argv[1])

def parts():
    yield b"half"
    assert len(list(folder.iterdir())) == 2, "the temporary file"
    {what}
    yield b"rest"

with temporary_folder() as other:
    (other / "file").write_text(str(other))
    (folder / "other").write_text(str(other))
    print("before", flush=True)
    write_atomically(folder / "file", parts())
    print((folder / "file").read_text(), other.exists(), end="")
"""


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    done = python(WRITING.format(what="os.kill(os.getpid(), signal.SIGTERM)"), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (143, "before\n", "ended\n")
    (left,) = tmp_path.iterdir()
    assert left.name == "other"
    assert not Path(left.read_text()).exists()


@pytest.mark.parametrize("stream", ["sys.stderr.close()", "sys.stderr = None", "os.dup2(os.open('/dev/full', os.O_WRONLY), 2)"])
def test_without_standard_error(tmp_path: Path, stream: str) -> None:
    done = python(WRITING.format(what=f"{stream}; os.kill(os.getpid(), signal.SIGTERM)"), tmp_path)
    assert (done.returncode, done.stderr) == (143, "")
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_a_forked_process_spares_the_files_of_its_parent(tmp_path: Path) -> None:
    fork = "child = os.fork() or os.kill(os.getpid(), signal.SIGTERM); assert os.waitpid(child, 0)[1] >> 8 == 143"
    done = python(WRITING.format(what=fork), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "before\nhalfrest True", "ended\n")


FORKED = """
import os, signal, time
from pyro_vd._core.ending import interruptible

class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)

signal.signal(signal.SIGINT, signal.default_int_handler)
with interruptible("interrupted"):
    if not (child := os.fork()):
        Held()
        print("went on", flush=True)
        os._exit(0)
    print(os.waitpid(child, 0)[1] >> 8)
"""


def test_a_forked_process_ends_at_ctrl_c_without_the_message_of_its_parent(tmp_path: Path) -> None:
    done = python(FORKED, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "130\n", "")
