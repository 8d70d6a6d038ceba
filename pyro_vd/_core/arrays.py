"""Inputs and observations as tensors, whatever they were given as, and what no network can learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line

_UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def tensor_of(name: str, value: Any, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor as it is; NumPy arrays, lists of numbers and what has ``__array__`` as a new one.

    Args:
        name: what it is called in an error.
        value: what was given.
        dtype: of floating-point numbers that come from no tensor; None leaves theirs.

    Raises:
        InputError: anything else; a masked array; numbers that are complex, or a tensor that is not a plain one with values.
    """
    if isinstance(value, Tensor):
        return _plain(name, value)
    if isinstance(value, np.ma.MaskedArray):
        raise InputError(f"{name} is a masked array; it must be a tensor or an array in which nothing is masked")
    if isinstance(value, str | bytes) or not (isinstance(value, list | tuple) or hasattr(value, "__array__")):
        raise InputError(f"{name} is a {type(value).__name__}; it must be a tensor, an array or a list of numbers")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{name} is a {type(value).__name__} that is no array of numbers: {one_line(error)}") from error
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} holds values of type {array.dtype}; it must hold integers or floating-point numbers")
    kind = np.dtype(np.float64) if array.dtype.itemsize > 8 else array.dtype.newbyteorder("=")
    tensor = _plain(name, torch.tensor(array.astype(kind)))
    return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor


def _plain(name: str, tensor: Tensor) -> Tensor:
    """An ordinary tensor with values, without a gradient's history, its integers of a type that torch can compare."""
    kinds = {
        "meta": tensor.is_meta,
        "nested": tensor.is_nested,
        "quantised": tensor.is_quantized,
        "complex": tensor.is_complex(),
        f"sparse ({tensor.layout})": tensor.layout is not torch.strided,
        f"{tensor.dtype}": tensor.is_floating_point() and tensor.dtype.itemsize < 2,
    }
    if wrong := [kind for kind, holds in kinds.items() if holds]:
        raise InputError(f"{name} is a {wrong[0]} tensor; it must be a dense tensor of real numbers with values")
    tensor = tensor.detach()
    if tensor.is_inference() and not torch.is_inference_mode_enabled():
        tensor = tensor.clone()  # autograd refuses the original
    if tensor.dtype not in _UNSIGNED:
        return tensor
    whole = tensor.to(torch.int64)
    if (whole < 0).any():
        raise InputError(f"{name} holds {int(whole.min()) + 2**64}; integers must be below 2**63")
    return whole


def check_arrays(name: str, x: Tensor, y: Tensor) -> None:
    """Refuse inputs and observations that cannot be trained on whatever the network and its likelihood.

    Raises:
        InputError: none, or unequal numbers; inputs that are not floating point, or not finite.
    """
    check_shape(name, x)
    if not x.is_floating_point():
        raise InputError(f"{name}: inputs of type {x.dtype}; they must be floating point")
    check_finite(name, "inputs", x)
    if y.ndim == 0 or y.numel() == 0:
        raise InputError(
            f"{name}: labels of shape {tuple(y.shape)}; they must be (n,), or (n, …) of several numbers per example"
        )
    if len(x) != len(y):
        raise InputError(f"{name}: {len(x)} inputs and {len(y)} labels; there must be as many of each")
    check_finite(name, "observations", y)


def check_shape(name: str, x: Tensor) -> None:
    """Refuse what is no batch of inputs.

    Raises:
        InputError: fewer than two dimensions, or no number in them.
    """
    if x.ndim < 2 or x.numel() == 0:
        raise InputError(f"{name}: inputs of shape {tuple(x.shape)}; it must be (n, …), at least one number in each of n >= 1")


def check_finite(name: str, what: str, values: Tensor) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: saying how many there are, and where the first is.
    """
    if not torch.isfinite(values).all():
        bad = ~torch.isfinite(values)
        first = bad.reshape(len(values), -1).any(1).nonzero()[0].item()
        raise InputError(f"{name}: {int(bad.sum())} NaN or infinite {what}, the first in example {first}; all must be finite")
