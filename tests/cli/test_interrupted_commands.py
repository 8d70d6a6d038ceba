"""Ctrl-C ends a command with one sentence, wherever it comes: also where Python discards exceptions."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support import ENVIRONMENT, SMALL, command

MODULE = """
import io, os, signal, time

from torch import nn


class Held:
    def __del__(self):
        interrupt()


def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0)  # here the handler is called


def where(place):
    if place == "destructor":
        Held()
        print("went on")
    elif place == "open file":
        file = io.FileIO(__file__)
        interrupt()
    else:
        try:
            interrupt()
        except BaseException:  # as the C++ code of a module that is imported may do
            print("went on")


class Net(nn.Sequential):
    def __init__(self, place):
        super().__init__(nn.Linear(64, 10))
        where(place)


"""
HEED = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a process in the background may ignore it


def train(folder: Path, place: str, before: Callable[[], object], **variables: str) -> subprocess.CompletedProcess[str]:
    """Train a network that interrupts its process."""
    (folder / "their_module.py").write_text(MODULE + ("where('import')" if place == "import" else ""))
    (folder / "recipe.yaml").write_text(
        f"data: {{name: digits}}\nmodel: {{class: their_module.Net, args: {{place: {place}}}}}\n"
    )
    line = command("train", folder / "recipe.yaml", "--trust=their_module", *SMALL[1:], "--out", folder / "out", "--quiet")
    path = os.pathsep.join([str(folder), ENVIRONMENT["PYTHONPATH"]])
    environment = {**ENVIRONMENT, "PYTHONPATH": path, **variables}
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=100, preexec_fn=before)


@pytest.mark.parametrize("place", ["destructor", "open file", "import"])
def test_wherever_it_comes(tmp_path: Path, place: str) -> None:
    done = train(tmp_path, place, HEED)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted; --resume goes on from the last epoch\n")
    assert not (tmp_path / "out").exists()


def test_a_command_in_the_background_goes_on(tmp_path: Path) -> None:
    done = train(tmp_path, "open file", partial(signal.signal, signal.SIGINT, signal.SIG_IGN), PYTHONWARNINGS="ignore")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_sweep_whose_first_process_starts(tmp_path: Path) -> None:
    """The processes wait meanwhile until a server has imported what they need; none is left."""
    line = command("sweep", "digits", "--seeds=2", "--jobs=2", *SMALL, "--train.epochs=500", "--out", tmp_path, "--quiet")
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, env=ENVIRONMENT, preexec_fn=HEED, **streams) as process:
        while not any(tmp_path.glob(".sweep/claims/*")):
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "interrupted; the same command goes on from the last epochs\n")
