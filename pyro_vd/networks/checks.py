"""Checks of networks and their tensors that a user gives: each error quotes the value and says what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.arrays import tensor_of
from pyro_vd._core.errors import InputError


def check_state(name: str, tensors: Mapping[str, Tensor], module: nn.Module) -> None:
    """Refuse tensors that do not fill ``module`` exactly, by name, shape and kind of number, or that are not finite.

    What is not finite there already, as −∞ in a causal mask, may be the same here. What a module has as ``optional_state``, as
    the masks of a guide, may be there or not.

    Raises:
        InputError: naming those that do not fit, or are not finite.
    """
    own = module.state_dict()
    for path, part in module.named_modules():
        optional = {f"{path}.{name}".lstrip("."): like for name, like in getattr(part, "optional_state", {}).items()}
        own |= {key: like for key, like in optional.items() if key in tensors}
    check_kinds(name, tensors, own)
    if broken := [key for key, tensor in tensors.items() if _is_broken(tensor, own[key])]:
        raise InputError(f"{name} holds NaN or infinite values in {', '.join(broken)}; all must be finite")


def check_kinds(name: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse tensors that are not the same as a network's ``own`` by name, shape and kind of number.

    Raises:
        InputError: naming those that do not fit.
    """
    given, wanted = ({key: _kind(tensor) for key, tensor in state.items()} for state in (tensors, own))
    if given != wanted:
        wrong = [key for key in {**wanted, **given} if given.get(key) != wanted.get(key)]
        listed = "; ".join(f"{key} is {given.get(key, 'missing')}, not {wanted.get(key, 'wanted')}" for key in wrong[:3])
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(f"{name} is of another architecture: {listed}{more}")


def _is_broken(tensor: Tensor, own: Tensor) -> bool:
    bad = ~torch.isfinite(tensor)
    return bool(bad.any()) and (own.is_meta or not torch.equal(tensor[bad], own.to(tensor)[bad]))


def _kind(tensor: Tensor) -> str:
    return f"{'float' if tensor.is_floating_point() else str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def dtype_of(net: nn.Module) -> torch.dtype:
    """The network's floating-point type, which inputs that are no tensors come in."""
    tensors = (tensor.dtype for tensor in (*net.parameters(), *net.buffers()) if tensor.is_floating_point())
    return next(tensors, torch.get_default_dtype())


def check_example(net: Any, example: Any) -> Tensor:
    """Example inputs of a network as a tensor.

    Raises:
        InputError: no network, or no tensor or array.
    """
    check_module("net", net)
    return tensor_of("example", example, dtype_of(net))


def check_module(name: str, net: object) -> None:
    """Refuse what is no network.

    Raises:
        InputError: naming what was given.
    """
    if not isinstance(net, nn.Module):
        raise InputError(f"{name} is a {type(net).__name__}; it must be a network, an nn.Module")


def check_trainable(*modules: nn.Module) -> None:
    """Refuse what autograd cannot train.

    Raises:
        InputError: a parameter or buffer that was made inside ``torch.inference_mode``.
    """
    for module in modules:
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if tensor.is_inference():
                raise InputError(
                    f"{name!r} was made inside torch.inference_mode, and cannot be trained; make model and guide outside of it"
                )
