"""One seed fixture for every test, and a clean Pyro."""

from __future__ import annotations

from collections.abc import Iterator

import pyro
import pytest
import torch


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    """Every test starts from the same seed, one thread and an empty parameter store."""
    torch.set_num_threads(1)
    pyro.clear_param_store()
    pyro.set_rng_seed(20170401)
    yield
    pyro.clear_param_store()
