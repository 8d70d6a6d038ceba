"""Checks of networks and tensors from users; each error quotes the value and says what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line, type_name
from pyro_vd.networks.input_checks import inputs_of
from pyro_vd.networks.inputs import Inputs, run_apart, tensors_in
from pyro_vd.networks.markers import GuideMarker, ModelMarker


def check_state(name: str, tensors: Mapping[str, Tensor], module: nn.Module) -> None:
    """Refuse tensors that do not match the state of ``module`` in names, shapes and kinds of numbers, or are not finite.

    A number that is not finite in ``module`` already, such as −∞ in a causal mask, may be the same in the tensors. Tensors that
    a module lists in ``optional_state``, such as the masks of a guide, may be missing.
    A module with a method ``expected_state`` says how its state depends on the tensors.

    Raises:
        InputError: naming the tensors that do not match, or are not finite.
    """
    own = module.state_dict()
    for path, part in module.named_modules():
        optional = {f"{path}.{name}".lstrip("."): like for name, like in getattr(part, "optional_state", {}).items()}
        own |= {key: like for key, like in optional.items() if key in tensors}
        if hasattr(part, "expected_state"):
            own = part.expected_state(own, tensors, f"{path}." if path else "")
    check_kinds(name, tensors, own)
    if broken := [key for key, tensor in tensors.items() if _is_broken(tensor, own[key])]:
        listed = ", ".join(broken)
        raise InputError(
            f"{name} holds NaN or infinite values in {listed}; all must be finite", name=name, value=broken, allowed="finite"
        )


def check_kinds(name: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Refuse tensors that differ from a network's ``own`` in names, shapes or kinds of numbers.

    Raises:
        InputError: naming the tensors that differ.
    """
    given, wanted = ({key: _kind(tensor) for key, tensor in state.items()} for state in (tensors, own))
    if given != wanted:
        wrong = [key for key in {**wanted, **given} if given.get(key) != wanted.get(key)]
        listed = "; ".join(f"{key} is {given.get(key, 'missing')}, not {wanted.get(key, 'wanted')}" for key in wrong[:3])
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(f"{name} is of another architecture: {listed}{more}", name=name, value=wrong)


def _is_broken(tensor: Tensor, own: Tensor) -> bool:
    bad = ~torch.isfinite(tensor)
    return bool(bad.any()) and (own.is_meta or not torch.equal(tensor[bad], own.to(tensor)[bad]))


def _kind(tensor: Tensor) -> str:
    return f"{'float' if tensor.is_floating_point() else type_name(tensor.dtype)} {tuple(tensor.shape)}"


def dtype_of(net: nn.Module) -> torch.dtype:
    """The floating-point type of a network; inputs that are not tensors are converted to it."""
    tensors = (tensor.dtype for tensor in (*net.parameters(), *net.buffers()) if tensor.is_floating_point())
    return next(tensors, torch.get_default_dtype())


def check_inputs_of(net: Any, example: Any) -> Inputs:
    """Convert example inputs of a network, in any form, to tensors; see :func:`~pyro_vd.networks.input_checks.inputs_of`.

    Raises:
        InputError: ``net`` is not a network, or ``example`` holds no inputs.
    """
    check_module("net", net)
    return inputs_of("example", example, dtype_of(net))


def check_takes(net: nn.Module, example: Inputs) -> Any:
    """The output of a network for example inputs.

    Raises:
        InputError: the network cannot take them.
    """
    try:
        return run_apart(net, example)
    except (RuntimeError, IndexError, TypeError, ValueError) as error:
        shapes = [tuple(tensor.shape[1:]) for tensor in tensors_in(example)]
        kinds = ", ".join(f"{tuple(tensor.shape[1:])}, {tensor.dtype}" for tensor in tensors_in(example))
        message = f"example of shape {kinds}, does not fit the network: {one_line(error)}"
        raise InputError(message, name="example", value=shapes[0] if len(shapes) == 1 else shapes) from error


def check_module(name: str, net: object) -> None:
    """Refuse a value that is not an ordinary network, such as a Bayesian network or a guide.

    Raises:
        InputError: naming the type of the value.
    """
    if not isinstance(net, nn.Module):
        allowed = "a network, an nn.Module"
        raise InputError(f"{name} is a {type(net).__name__}; it must be {allowed}", name=name, value=net, allowed=allowed)
    if isinstance(net, ModelMarker | GuideMarker):
        allowed = "an ordinary network, such as prune(guide) or posterior_mean(guide) makes"
        raise InputError(f"{name} is a {type(net).__name__}; it must be {allowed}", name=name, value=net, allowed=allowed)


def check_hooks(net: nn.Module) -> None:
    """Refuse a network with forward hooks, which can do anything.

    Raises:
        InputError: naming the module.
    """
    for name, module in net.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise InputError(
                f"module {name!r} ({type(module).__name__}) has forward hooks, which can do anything; make their effect "
                "permanent and remove them, as torch.nn.utils.prune.remove does",
                name=name or "net",
                value=type(module).__name__,
            )


def check_trainable(*modules: nn.Module) -> None:
    """Refuse modules that autograd cannot train.

    Raises:
        InputError: a parameter or buffer was made inside ``torch.inference_mode``.
    """
    for module in modules:
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if tensor.is_inference():
                raise InputError(
                    f"{name!r} was made inside torch.inference_mode and cannot be trained; make model and guide outside of it",
                    name=name,
                )
