"""What a checkpoint may hold: plain values and dense tensors, no more than its size; checked when it is written and read."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.reading import DEEPEST, most_unpacked

_LEAVES = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)
_MAPPINGS = (dict, OrderedDict, Counter)
_LISTS = (list, tuple, set)


def check_plain(where: str, tree: Any, size: int) -> None:
    """Refuse content that a file cannot give back, or that takes far more memory or time than the file has bytes.

    A list that is met again counts again, and so does a tensor that is a view of a smaller one.

    Args:
        where: what the content is of, for messages.
        tree: the content.
        size: the number of bytes of its file.

    Raises:
        InputError: a value of another type, such as an object or a number of NumPy; a tensor that is not dense or has no values
            on the CPU or a GPU; more than 64 levels; or more values, or larger tensors, than a file of this size has.
    """
    left, most = size, most_unpacked(size)
    parts: list[tuple[Any, int]] = [(tree, 0)]
    while parts:
        value, level = parts.pop()
        left -= 1
        if type(value) in (Tensor, nn.Parameter):
            _check_tensor(where, value)
            most -= value.nbytes
        elif type(value) in _MAPPINGS:
            parts += [(part, level + 1) for pair in value.items() for part in pair]
        elif type(value) in _LISTS:
            parts += [(part, level + 1) for part in value]
        elif type(value) not in _LEAVES:
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            allowed = "numbers, text, tensors, lists and mappings of Python and torch"
            raise InputError(f"{where} holds a {kind}; it must hold {allowed}", name=where, value=kind, allowed=allowed)
        if level > DEEPEST or left < 0 or most < 0:
            what = f"{DEEPEST} levels" if level > DEEPEST else f"the content of {size:,} bytes"
            raise InputError(f"{where} holds more than {what}", name=where, allowed=f"at most {what}")


def _check_tensor(where: str, tensor: Tensor) -> None:
    dense = tensor.layout is torch.strided and not (tensor.is_quantized or tensor.is_meta or tensor.is_nested)
    if not dense:
        kind = f"{tensor.dtype} {tensor.layout} on {tensor.device}"
        allowed = "a dense tensor with values"
        raise InputError(f"{where} holds a tensor of {kind}; it must be {allowed}", name=where, value=kind, allowed=allowed)
