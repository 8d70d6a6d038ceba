"""A process of a sweep that is terminated ends at once and silently, wherever it is; one that does not is killed."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from support import ENVIRONMENT, SMALL, command

from pyro_vd.workflow import sweep as sweep_module
from pyro_vd.workflow.plans import Grid
from pyro_vd.workflow.recipe_files import read_recipe, recipe_with
from pyro_vd.workflow.settings import Setting, SweepRun, make_setting
from pyro_vd.workflow.shared_sweep import SharedSweep
from pyro_vd.workflow.study import Study
from pyro_vd.workflow.sweep import run_sweep

MODULE = """
import io, os, signal, sys, time
from multiprocessing import parent_process
from pathlib import Path

from torch import nn


class Held:
    def __del__(self):
        terminate()


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0)  # here the handler is called


class Net(nn.Sequential):
    def __init__(self, where):
        super().__init__(nn.Linear(64, 10))
        if parent_process() is None:
            return
        if where == "destructor":
            Held()
        elif where == "open file":
            file = io.FileIO(__file__)
            terminate()
        elif where == "caught":
            try:
                terminate()
            except BaseException:
                pass
        else:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            Path(where).touch()
            time.sleep(300)
        Path(__file__).with_suffix(".went-on").touch()
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (path := tmp_path / "their_module.py").write_text(MODULE)
    return path


@pytest.mark.slow
def test_terminated_anywhere(module: Path, tmp_path: Path) -> None:
    """In a destructor, with a file open, and where every exception is caught: nothing goes on, and nothing is said."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("data: {name: digits, validation: 100}\nmodel: {class: their_module.Net, args: {where: caught}}\n")
    grid = "model.args={where: destructor},{where: open file},{where: caught}"
    line = command(
        "sweep", recipe, "--grid", grid, "--trust=their_module", *SMALL[1:], "--out", tmp_path / "out", "--quiet", "--json"
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(tmp_path), ENVIRONMENT["PYTHONPATH"]])}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, timeout=200)
    assert (done.returncode, done.stderr) == (1, "")
    failed = json.loads(done.stdout)["failed"]
    assert list(failed.values()) == ["its process was ended by exit code 143, 2 times"] * 3
    assert not module.with_suffix(".went-on").exists()


@pytest.mark.slow
def test_one_that_hangs_is_killed(module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sweep_module, "_PATIENCE", 0.5)
    monkeypatch.setattr(sweep_module, "trusted", lambda: ("their_module",))
    begun = tmp_path / "begun"
    content = read_recipe("digits") | {"model": {"class": "their_module.Net", "args": {"where": str(begun)}}}

    def make(point: Mapping[str, str], seeds: object) -> Setting:
        return make_setting(tmp_path, lambda each: recipe_with(content, each), point, ["0"])

    def interrupt(running: Mapping[str, SweepRun]) -> None:
        if begun.exists():
            raise KeyboardInterrupt

    sweep = SharedSweep(Study(tmp_path / ".sweep"), Grid([{}], ["0"]), make)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(sweep, 1, False, interrupt)
    assert not multiprocessing.active_children()
    claim = sweep.take()
    assert claim is not None, "it was given back"
    claim.lock.release()
