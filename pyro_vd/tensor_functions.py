"""Functions of tensors, sorted by what they do to one: a linear map of it, a question about it, a change of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_vd.errors import InputError

LINEAR_MAPS: frozenset[Callable[..., Tensor]] = frozenset(
    {F.linear, F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d}
)
"""Functions of ``input``, ``weight`` and ``bias`` that are linear in the weight."""

_CONVOLUTION = ("stride", "padding", "dilation", "groups")
_TRANSPOSED = ("stride", "padding", "output_padding", "groups", "dilation")
_REST: dict[Any, tuple[str, ...]] = {
    F.linear: (),
    F.conv_transpose1d: _TRANSPOSED,
    F.conv_transpose2d: _TRANSPOSED,
    F.conv_transpose3d: _TRANSPOSED,
}

_PROPERTIES = (
    *("shape", "dtype", "device", "layout", "ndim", "requires_grad", "is_leaf", "itemsize", "nbytes", "names"),
    *(
        "is_cpu",
        "is_cuda",
        "is_mps",
        "is_meta",
        "is_mkldnn",
        "is_quantized",
        "is_sparse",
        "is_sparse_csr",
        "is_xpu",
        "is_nested",
    ),
)
_METHODS = (
    *("size", "dim", "ndimension", "numel", "nelement", "__len__", "element_size", "get_device", "dim_order", "has_names"),
    *("is_floating_point", "is_complex", "is_signed", "is_inference", "is_conj", "is_neg", "is_contiguous", "stride"),
    *("storage_offset", "is_same_size", "type", "__hash__", "__repr__"),
)
METADATA: frozenset[Any] = frozenset(
    {getattr(Tensor, name).__get__ for name in _PROPERTIES if hasattr(Tensor, name)}
    | {getattr(Tensor, name) for name in _METHODS if hasattr(Tensor, name)}
    | {torch.is_floating_point, torch.is_complex, torch.is_tensor, torch.numel, torch.is_same_size}
)
"""What asks about a tensor without its numbers."""

DATA: frozenset[Any] = frozenset({Tensor.data.__get__, Tensor.detach, torch.detach})  # type: ignore[attr-defined]
"""What gives a tensor's numbers without its gradient, in the same memory."""

_HARMLESS = ("requires_grad_", "retain_grad", "share_memory_", "pin_memory")

_IN_PLACE = ("add__", "sub__", "mul__", "div__", "truediv__", "floordiv__", "mod__", "pow__", "and__", "or__", "xor__")


def linear_arguments(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of one of :data:`LINEAR_MAPS` by name."""
    names = ("input", "weight", "bias", *_REST.get(function, _CONVOLUTION))
    return {**dict(zip(names, args, strict=False)), **kwargs}


def check_not_changed(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[Tensor], name: str) -> None:
    """Refuse a function that would change a weight of this ``kind`` in place.

    Raises:
        InputError: the change would be to one draw of the weight alone, and be gone at the next.
    """
    called = getattr(function, "__name__", "")
    in_place = called.endswith("_") and not called.endswith("__") and called not in _HARMLESS
    in_place |= called in ("__setitem__", "__set__") or (called[:3] == "__i" and called[3:] in _IN_PLACE)
    changed = [args[0]] if in_place and args else []
    if any(isinstance(each, kind) for each in (*changed, kwargs.get("out"))):
        raise InputError(
            f"{name} is changed in place by `{called}` in the network's forward pass; it is drawn anew in every pass, and the "
            "change would be lost. Compute with a changed copy instead, such as `F.linear(x, self.weight.clamp(-1, 1))`, or "
            "use torch.nn.utils.parametrize"
        )
