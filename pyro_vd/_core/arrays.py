"""Conversion of inputs and observations to tensors, and checks that do not depend on a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line

_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def tensor_of(name: str, value: Any, dtype: torch.dtype | None = None) -> Tensor:
    """Return a tensor itself, or a new tensor of a NumPy array, a list of numbers or an object with ``__array__``.

    Args:
        name: what the value is called in an error.
        value: what was given.
        dtype: type of floating-point numbers that are not given as a tensor; None keeps their type.

    Raises:
        InputError: any other value; a masked array; complex numbers; or a tensor that is not dense or has no values.
    """
    if isinstance(value, Tensor):
        return _plain(name, value)
    if isinstance(value, np.ma.MaskedArray):
        message = f"{name} is a masked array; it must be a tensor, or an array without a mask"
        raise InputError(message, name=name, value=value, allowed="a tensor, or an array without a mask")
    if isinstance(value, str | bytes) or not (isinstance(value, list | tuple) or hasattr(value, "__array__")):
        message = f"{name} is a {type(value).__name__}; it must be a tensor, an array or a list of numbers"
        raise InputError(message, name=name, value=value, allowed="a tensor, an array or a list of numbers")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        message = f"{name} is a {type(value).__name__} that is no array of numbers: {one_line(error)}"
        raise InputError(message, name=name, value=value, allowed="an array of numbers") from error
    if array.dtype.kind not in "fiub":
        message = f"{name} holds values of type {array.dtype}; it must hold integers or floating-point numbers"
        raise InputError(message, name=name, value=array.dtype, allowed="integers or floating-point numbers")
    kind = np.dtype(np.float64) if array.dtype.itemsize > 8 else array.dtype.newbyteorder("=")
    tensor = _plain(name, torch.tensor(array.astype(kind)))
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def _plain(name: str, tensor: Tensor) -> Tensor:
    """Return a dense tensor without a gradient; unsigned integers, which torch cannot compare, become int64."""
    kinds = {
        "meta": tensor.is_meta,
        "nested": tensor.is_nested,
        "quantised": tensor.is_quantized,
        "complex": tensor.is_complex(),
        f"sparse ({tensor.layout})": tensor.layout is not torch.strided,
        f"{tensor.dtype}": tensor.is_floating_point() and tensor.dtype.itemsize < 2,
    }
    if wrong := [kind for kind, holds in kinds.items() if holds]:
        message = f"{name} is a {wrong[0]} tensor; it must be a dense tensor of real numbers with values"
        raise InputError(message, name=name, value=wrong[0], allowed="a dense tensor of real numbers with values")
    tensor = tensor.detach()
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        tensor = tensor.clone()  # autograd refuses the original
    if tensor.dtype not in _UNSIGNED:
        return tensor
    whole = tensor.to(torch.int64)
    if (whole < 0).any():
        largest = int(whole.min()) + 2**64
        raise InputError(
            f"{name} holds {largest}; integers must be below 2**63", name=name, value=largest, allowed="below 2**63"
        )
    return whole


def check_finite(name: str, what: str, values: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: with their number, and the example of the first.
    """
    if not torch.isfinite(values).all():
        bad = ~torch.isfinite(values)
        first = bad.reshape(len(values), -1).any(1).nonzero()[0].item()
        message = f"{name}: {int(bad.sum())} NaN or infinite {what}, the first in example {first}; all must be finite"
        raise InputError(message, name=name, value=int(bad.sum()), allowed="finite")
