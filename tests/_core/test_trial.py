"""What crashes, loops or takes too much memory in a process of its own is an error of one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyro_vd._core.trial import try_to_read


@pytest.mark.parametrize(
    ("does", "message"),
    [
        ("import os; os.abort()", "reading it ends in SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "reading it ends in SIGSEGV"),
        pytest.param("while True: pass", "it cannot be read in time", marks=pytest.mark.slow),
        ("held = bytearray(4 * most)", "MemoryError"),
        ("raise ValueError('not\\nthis')", "not this"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_what_does_harm_ends_the_other_process(tmp_path: Path, does: str, message: str) -> None:
    (program := tmp_path / "check.py").write_text(f"def check(path, most):\n    {does}\n")
    with pytest.raises(ValueError, match=f"^{message}$"):
        try_to_read(program, program)


def test_it_gets_the_file_and_how_much_it_may_take(tmp_path: Path) -> None:
    (program := tmp_path / "check.py").write_text("def check(path, most):\n    open(path + '.most', 'w').write(str(most))\n")
    (path := tmp_path / "file").write_bytes(bytes(4 * 2**20))
    try_to_read(path, program)
    assert (tmp_path / "file.most").read_text() == str(400 * 2**20)
