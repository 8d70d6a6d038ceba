"""One seed fixture for every test, a clean Pyro, and a small finished run to read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyro
import pytest
import torch
from support import SMALL, run_cli


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    """Every test starts from the same seed, one thread and an empty parameter store."""
    torch.set_num_threads(1)
    pyro.clear_param_store()
    pyro.set_rng_seed(20170401)
    yield
    pyro.clear_param_store()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run on digits, of a few epochs. Copy it before changing anything."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run") / "digits"
    code, _, err = run_cli("train", "digits", *SMALL, "--out", folder, "--quiet")
    assert code == 0, err
    return folder
