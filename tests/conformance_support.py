"""What the tests of the conformance classes share: how a test fails, what pytest gives it, and a wrong variance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from pyro_vd.distributions import MultiplicativeNormal

FAILED = (AssertionError, pytest.fail.Exception)


class Wide(MultiplicativeNormal):
    """The variance, of which outputs are drawn, is not that of the draws."""

    @property
    def variance(self) -> Tensor:
        return 1.1 * super().variance


def given(test: str, tmp_path: Path) -> list[Any]:
    """What pytest would give the test."""
    tmp_path.mkdir(exist_ok=True)
    return {"test_it_goes_on_bit_for_bit": [tmp_path], "test_a_checkpoint_holds_it": [tmp_path]}.get(
        test, ["cpu"] if test == "test_it_moves_with_its_model" else []
    )
