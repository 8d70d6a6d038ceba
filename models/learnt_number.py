"""Positive numbers of a likelihood that are known, or learnt with the network."""

from __future__ import annotations

import math

import torch
from torch import nn

from pyro_vd._core.arguments import check_number


def keep_logarithm(module: nn.Module, name: str, known: float | None, initial: float) -> None:
    """Keep the logarithm of a positive number as ``log_<name>``: a buffer if the number is known, otherwise a parameter.

    Args:
        module: the likelihood.
        name: the name of the number.
        known: the number; None learns it.
        initial: the start of a learnt number.

    Raises:
        InputError: one of the numbers is not finite and above 0.
    """
    initial = check_number(f"initial_{name}", initial, low=0, low_open=True)
    if known is None:
        module.register_parameter(f"log_{name}", nn.Parameter(torch.tensor(math.log(initial))))
    else:
        known = check_number(name, known, low=0, low_open=True)
        module.register_buffer(f"log_{name}", torch.tensor(math.log(known)))
