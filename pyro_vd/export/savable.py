"""Which networks a file can give back: those whose values, types and code are what the file says of them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.tensor_file import check_types


def check_savable(net: nn.Module, state: Mapping[str, Any]) -> None:
    """Refuse a network that a file cannot give back.

    Args:
        net: the network.
        state: its ``state_dict``.

    Raises:
        InputError: its state holds what is no dense tensor with values; parameters are not finite; or a method of one of its
            modules was replaced.
    """
    kind = type(net).__name__
    if foreign := [name for name, value in state.items() if not isinstance(value, Tensor)]:
        raise InputError(
            f"the state of {kind} holds {', '.join(foreign)}, not a tensor; a file holds tensors only",
            name="net",
            value=foreign,
        )
    if sparse := [name for name, tensor in state.items() if tensor.layout is not torch.strided]:
        raise InputError(
            f"{', '.join(sparse)} are not dense tensors: {kind} is for running only; save the network that it was made from, "
            "with layout='sparse' if wanted",
            name="net",
            value=sparse,
        )
    if empty := [name for name, tensor in state.items() if tensor.is_meta]:
        message = f"{', '.join(empty)} have no values, as they are on the device 'meta'; a file holds values"
        raise InputError(message, name="net", value=empty, allowed="tensors with values")
    check_types(f"the state of {kind}", state)
    if broken := [name for name, parameter in net.named_parameters() if not torch.isfinite(parameter.detach()).all()]:
        listed = ", ".join(broken)
        raise InputError(
            f"net holds NaN or infinite values in {listed}; all must be finite", name="net", value=broken, allowed="finite"
        )
    if patched := [f"{path}.{name}".lstrip(".") for path, module in net.named_modules() for name in _replaced(module)]:
        raise InputError(
            f"methods of modules were replaced: {', '.join(patched)}; a file holds tensors and sizes, no code. Write a class "
            "of your own with these methods",
            name="net",
            value=patched,
            allowed="without replaced methods",
        )


def check_kept(where: str, found: Mapping[str, Tensor], state: Mapping[str, Tensor], exactly: bool) -> None:
    """Refuse tensors that come back from a file with another type than they have, or with other numbers.

    Args:
        where: what is saved, for messages.
        found: the tensors as they come back.
        state: the tensors of the network.
        exactly: whether the numbers must be equal; otherwise only those that are no floating-point numbers.

    Raises:
        InputError: naming the tensors.
    """
    for name, tensor in state.items():
        kept = found[name].dtype == tensor.dtype
        if not kept or ((exactly or not tensor.is_floating_point()) and not torch.equal(found[name], tensor.cpu())):
            message = f"{where}: {name} is {tensor.dtype}; a file of this network gives back {found[name].dtype}"
            raise InputError(message, name="net", value=tensor.dtype, allowed=str(found[name].dtype))


def _replaced(module: nn.Module) -> list[str]:
    """The names of methods of a module's class in whose place the module itself has something else."""
    return [name for name in vars(module) if _is_method(type(module), name)]


def _is_method(kind: type[nn.Module], name: str) -> bool:
    """Whether a class has a method of this name, not a default such as ``torch.relu``, which an instance may set."""
    found = getattr(kind, name, None)
    if not callable(found) or name == "forward" or hasattr(nn.Module, name):
        return callable(found)
    if not inspect.isfunction(found):
        return inspect.ismethod(found)  # a class method
    written = {f"{each.__qualname__}.{name}" for each in kind.__mro__}
    return found.__qualname__ in written or next(iter(inspect.signature(found).parameters), "") == "self"
