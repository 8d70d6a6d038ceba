"""Sets of tensor functions: those that read metadata only, and those that change a tensor. Linear maps are in the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError

_PROPERTIES = (
    *("shape", "dtype", "device", "layout", "ndim", "requires_grad", "is_leaf", "itemsize", "nbytes", "names", "grad_fn"),
    *("is_cpu", "is_cuda", "is_mps", "is_meta", "is_mkldnn", "is_quantized", "is_sparse", "is_sparse_csr", "is_nested"),
    *("is_xpu", "output_nr", "retains_grad", "_version", "_base"),
)
_METHODS = (
    *("size", "dim", "ndimension", "numel", "nelement", "__len__", "element_size", "get_device", "dim_order", "has_names"),
    *("is_floating_point", "is_complex", "is_signed", "is_inference", "is_conj", "is_neg", "is_contiguous", "stride"),
    *("storage_offset", "is_same_size", "is_shared", "is_pinned", "_is_view", "data_ptr", "untyped_storage", "__hash__"),
    *("__repr__", "new_zeros", "new_ones", "new_empty", "new_full", "new_tensor"),
)
_FUNCTIONS = (
    *("is_floating_point", "is_complex", "is_tensor", "numel", "is_same_size", "get_device", "result_type", "promote_types"),
    *("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like"),
)
METADATA: frozenset[Any] = frozenset(
    {getattr(Tensor, name).__get__ for name in _PROPERTIES if hasattr(Tensor, name)}
    | {getattr(Tensor, name) for name in _METHODS if hasattr(Tensor, name)}
    | {getattr(torch, name) for name in _FUNCTIONS}
)
"""Functions that depend on a tensor's metadata, such as its shape, and not on its numbers."""

_AS_THE_OTHER = frozenset({Tensor.type_as, Tensor.to, Tensor.view_as, Tensor.expand_as, Tensor.reshape_as})


def is_question(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[Tensor]) -> bool:
    """Whether a function, with these arguments, does not depend on the numbers of its tensors of this ``kind``."""
    if function in METADATA or (function is Tensor.type and len(args) == 1 and not kwargs):
        return True
    return function in _AS_THE_OTHER and not isinstance(args[0], kind)


DATA: frozenset[Any] = frozenset({Tensor.data.__get__, Tensor.detach, torch.detach})  # type: ignore[attr-defined]
"""Functions that return a tensor with the same memory and without a gradient."""

NO_GRADIENT_OF_ITS_OWN: frozenset[Any] = frozenset({vars(torch._C.TensorBase)["grad"].__get__, Tensor.requires_grad_})
"""Functions that concern the gradient of a leaf; a drawn weight is not a leaf."""

CHUNKS: frozenset[Any] = frozenset({torch.chunk, Tensor.chunk})
"""Functions that divide a tensor into equal parts."""

_HARMLESS = ("requires_grad_", "retain_grad", "share_memory_", "pin_memory")

_SET_DATA: Any = vars(torch._C.TensorBase)["data"].__set__
_IN_PLACE = ("add__", "sub__", "mul__", "div__", "truediv__", "floordiv__", "mod__", "pow__", "and__", "or__", "xor__")


def replaced(tree: Any, kind: type[Tensor], by: Callable[[Any], Any]) -> Any:
    """Return a ``tree`` of tuples, lists and dictionaries in which ``by`` is applied to every tensor of this ``kind``."""
    if isinstance(tree, kind):
        return by(tree)
    if isinstance(tree, tuple | list):
        items = [replaced(item, kind, by) for item in tree]
        return type(tree)(*items) if hasattr(tree, "_fields") else type(tree)(items)
    return {key: replaced(item, kind, by) for key, item in tree.items()} if isinstance(tree, dict) else tree


def check_not_changed(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[Tensor], name: str) -> None:
    """Refuse a function that would change a weight of this ``kind`` in place.

    Raises:
        InputError: naming the function; the change would apply to one draw of the weight, and the next draw would not have it.
    """
    called = getattr(function, "__name__", "")
    in_place = called.endswith("_") and not called.endswith("__") and called not in _HARMLESS
    in_place |= called == "__setitem__" or function == _SET_DATA or (called[:3] == "__i" and called[3:] in _IN_PLACE)
    changed = [args[0]] if in_place and args else []
    if any(isinstance(each, kind) for each in (*changed, kwargs.get("out"))):
        raise InputError(
            f"{name} is changed in place by `{called}` in the network's forward pass; each pass draws the weight again, and "
            "the change would be lost. Compute with a changed copy instead, such as `F.linear(x, self.weight.clamp(-1, 1))`, "
            "or use torch.nn.utils.parametrize",
            name=name,
            value=called,
        )
