"""Factors on the KL of single sites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro_vd._core.arguments import HIGHEST_KL_WEIGHT, check_number
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted


def check_kl_weights(value: Any) -> dict[str, float]:
    """Return a value for ``kl_weights``: numbers in [0, 10¹²] by pattern.

    Raises:
        InputError: any other value.
    """
    if not isinstance(value, Mapping):
        raise InputError(name="kl_weights", value=value, allowed='a mapping from patterns to numbers, as {"embedding.*": 0.1}')
    named = {pattern: (f"kl_weights of {quoted(pattern)}", factor) for pattern, factor in value.items()}
    return {pattern: float(check_number(*given, low=0, high=HIGHEST_KL_WEIGHT)) for pattern, given in named.items()}
