"""Which numbers are denormal, and whether the processor computes with them."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import torch
from torch import Tensor


def num_denormal(tensors: Iterable[Tensor]) -> int:
    """How many numbers in all of the tensors are denormal."""
    return sum(int(((each != 0) & (each.abs() < torch.finfo(each.dtype).tiny)).sum()) for each in tensors)


def is_flushed() -> bool:
    """Whether denormal numbers are zero in this thread: the smallest ordinary number cannot be halved."""
    return sys.float_info.min / 2 == 0
