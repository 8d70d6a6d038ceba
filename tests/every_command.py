"""Each command of ``pyro-vd`` under a condition, such as a full disk: in a process of its own that has imported everything.

Run as a program with a condition, the folder of a finished run and an empty folder, it prints as JSON ``ends``, a list of
``[command, exit code, standard output, standard error]``, and the ``new`` files in the folder. Exit code 3 with a message: the
condition cannot be had here.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from support import SMALL, contents

from pyro_vd.cli import main as cli

_NEW_MOUNTS, _NEW_USER = 0x0002_0000, 0x1000_0000
_PRIVATE = 0x0004_4000
_FORMATS = {"onnx": ".onnx", "torch": ".pt2", "sparse": ".sparse"}
_TRAIN = ("train", "digits", *SMALL, "--pretrain.epochs=0", "--train.epochs=1", "--finetune.epochs=1", "--train.frames=1")

_COMPRESS = ("--epochs=2", "--lr=0.01", "--quiet")


def commands(run: Path, other: Path, out: Path) -> list[list[str]]:
    """Arguments of each command that needs no other process; ``experiment`` and ``sweep`` have tests of their own."""
    return [
        ["recipes"],
        ["train", "digits", "--print-config"],
        [*_TRAIN, "--out", str(out / "new")],
        ["evaluate", str(run)],
        ["prune", str(run), "--threshold=1", "--out", str(out / "pruned.safetensors")],
        ["compare", str(run), str(other), "--out", str(out / "compare.png")],
        ["compress", str(run), "--target=1.5", "--deploy=sparse", *_COMPRESS, "--out", str(out / "compressed")],
        ["report", str(run)],
        ["inspect", str(run)],
        ["animate", str(run)],
        *(["export", str(run), "--format", form, "--out", str(out / f"export{end}")] for form, end in _FORMATS.items()),
    ]


def own_disk(folder: Path, megabytes: int) -> None:
    """Put an empty disk at a folder, for this process and its children.

    Raises:
        OSError: this process may not.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(_NEW_MOUNTS if user == 0 else _NEW_MOUNTS | _NEW_USER):
        raise OSError(ctypes.get_errno(), "no mounts of its own")
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path(f"/proc/self/{name}").write_text(text)
    size = f"size={megabytes}m".encode()
    for target, kind, flags, data in ((b"/", None, _PRIVATE, None), (os.fsencode(folder), b"tmpfs", 0, size)):
        if libc.mount(b"none", target, kind, flags, data):
            raise OSError(ctypes.get_errno(), "no mounting")


def fill(folder: Path) -> None:
    """Take all room on a disk."""
    with (folder / "room").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def no_streams() -> None:
    """Close the standard streams, as a shell does with ``<&- >&- 2>&-``."""
    for number in range(3):
        os.close(number)
    sys.stdin = sys.stdout = sys.stderr = None  # type: ignore[assignment]


def ended(arguments: list[str], prepare: Callable[[], None]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, in a child process after ``prepare``."""
    out, err = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        code = 99
        try:
            os.dup2(out[1], 1), os.dup2(err[1], 2)
            sys.stdout = open(1, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors, closefd=False)  # noqa: SIM115
            prepare()
            cli.main(arguments)
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 98
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
            os._exit(code)
    texts = []
    for read, write in (out, err):
        os.close(write)
        with os.fdopen(read, encoding="utf-8", errors="replace") as file:
            texts.append(file.read())
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), *texts


def main() -> None:
    condition, given, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    try:
        if condition == "full disk":
            own_disk(folder, 64)
        elif condition == "full TMPDIR":
            own_disk(Path(os.environ["TMPDIR"]), 1)
    except OSError as error:
        print(error.strerror, file=sys.stderr)
        sys.exit(3)
    runs = [folder / name for name in ("run", "other")]
    for run in runs:
        shutil.copytree(given, run)
    if condition in ("full disk", "full TMPDIR"):
        fill(folder if condition == "full disk" else Path(os.environ["TMPDIR"]))
    before = contents(folder)
    import pyro_vd.posterior.inference_data
    import pyro_vd.workflow.training_run  # noqa: F401

    prepare = no_streams if condition == "closed streams" else lambda: None
    ends = [[line[0], *ended(line, prepare)] for line in commands(*runs, folder)]
    print(json.dumps({"ends": ends, "new": sorted(contents(folder).keys() - before.keys())}))


if __name__ == "__main__":
    main()
