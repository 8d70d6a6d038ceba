"""Admission of networks and likelihoods to a Bayesian model; an error says why one is refused, and what to do instead."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line, type_name
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.layer_registry import kind_of, own_weights
from pyro_vd.networks.layers import weight_name

_COMPUTING_HOOKS: dict[type[Any], tuple[str, str]] = {
    WeightNorm: ("name", "torch.nn.utils.remove_weight_norm"),
    SpectralNorm: ("name", "torch.nn.utils.remove_spectral_norm"),
    BasePruningMethod: ("_tensor_name", "torch.nn.utils.prune.remove"),
}
"""Hooks that compute a parameter before each forward pass, each with the attribute that holds the parameter's name, and the
function that makes its value permanent."""

_SPREAD = {"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule"}
"""Class names, in torch and other libraries, of wrappers that spread a network over several devices or processes."""


def admitted_copy(net: nn.Module, excluded: Collection[str] = ()) -> nn.Module:
    """Return a copy of a network that has passed :func:`check_admission`.

    Args:
        net: the network that the user gave.
        excluded: the names of parameters that get no prior.

    Raises:
        InputError: the network is refused, or cannot be copied.
    """
    check_admission(net, excluded)
    try:
        return copy_network(net)
    except (RuntimeError, TypeError) as error:
        message = f"net is a {type(net).__name__}, which cannot be copied: {one_line(error)}"
        raise InputError(message, name="net", value=net) from error


def check_admission(net: nn.Module, excluded: Collection[str] = ()) -> None:
    """Refuse a network whose weights do not exist yet, cannot be replaced by draws, or are not ordinary numbers.

    Args:
        net: the network that the user gave.
        excluded: the names of parameters that get no prior.

    Raises:
        InputError: naming the module or the tensor, and what to do. Refused are a lazy layer before its first batch; a
            ScriptModule; a wrapper that spreads a network over devices; a weight that is computed from other parameters; and a
            tensor on the meta device, a complex or non-dense parameter, or one with a dimension of size 0.
    """
    for path, module in net.named_modules():
        _check_kind(path, module)
        _check_computed(path, module, excluded)
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            what = f"{name} of {_called(path)} ({type(module).__name__})"
            _check_tensor(what, weight_name(path, name), tensor)


def check_likelihood_type(likelihood: object) -> None:
    """Refuse a likelihood with a learnt parameter whose floating-point type is too coarse for small steps.

    Raises:
        InputError: naming the parameter and its type.
    """
    for name, parameter in likelihood.named_parameters() if isinstance(likelihood, nn.Module) else ():
        if parameter.requires_grad and is_coarse(parameter.dtype):
            raise InputError(
                name=f"likelihood.{name}",
                value=parameter.dtype,
                allowed="float32 or float64, because smaller types lose the small steps of learning: call likelihood.float()",
            )


def is_coarse(dtype: torch.dtype) -> bool:
    """Return whether a floating-point type is less precise than float32; bfloat16 loses a step of 0.001 above 1."""
    return torch.finfo(dtype).eps > torch.finfo(torch.float32).eps


def _called(path: str) -> str:
    """Return what a message calls the module at a path; the path of the network itself is empty."""
    return f"module {path!r}" if path else "net"


def _check_kind(path: str, module: nn.Module) -> None:
    """Refuse compiled modules and wrappers that spread a network over devices."""
    what, kind = _called(path), type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError(
            f"{what} is a {kind}, whose weights cannot be replaced by draws; give the module from which it was compiled",
            name=path or "net",
            value=module,
        )
    if _SPREAD & {base.__name__ for base in type(module).__mro__}:
        raise InputError(
            f"{what} is a {kind}, which spreads a network over devices; give the network inside it (net.module), and spread "
            "the training instead: fit under torchrun, or DistributedDataParallel(elbo(model, guide))",
            name=path or "net",
            value=module,
        )


def _check_computed(path: str, module: nn.Module, excluded: Collection[str]) -> None:
    """Refuse a weight that a hook or a parametrization computes from other parameters: a prior on it would have no effect."""
    what = f"{_called(path)} ({type(module).__name__})"
    for hook in module._forward_pre_hooks.values():
        for kind, (place, remedy) in _COMPUTING_HOOKS.items():
            if isinstance(hook, kind):
                name = getattr(hook, place)
                raise InputError(
                    f"{what} computes its {name} from other parameters, by {type(hook).__name__}; make the value of {name} "
                    f"permanent first: {remedy}(module, {name!r})",
                    name=weight_name(path, name),
                )
    layer_kind = kind_of(module)
    if layer_kind is None or not any(p.requires_grad and n not in excluded for n, p in module.named_parameters(path)):
        return
    if computed := [name for name in layer_kind.weights(module) if name not in own_weights(layer_kind, module)]:
        name = computed[0]
        raise InputError(
            f"{what} computes its {name} from other parameters, so that {name} cannot have a prior; make its value permanent "
            f"first: torch.nn.utils.parametrize.remove_parametrizations(module, {name!r}); or freeze the module, "
            f"module.requires_grad_(False), or leave it plain, BayesianNetwork(..., exclude=[{f'{path}.*'.lstrip('.')!r}])",
            name=weight_name(path, name),
        )


def _check_tensor(what: str, name: str, tensor: torch.Tensor) -> None:
    """Refuse a parameter or buffer without a shape or without values, and a parameter that is no dense tensor of real numbers.

    Args:
        what: what a message calls the tensor.
        name: its name in the network.
        tensor: the parameter or buffer.
    """
    if is_lazy(tensor):
        raise InputError(f"{what} has no shape before the first batch; run the network on a batch first: net(x[:2])", name=name)
    if tensor.is_meta:
        raise InputError(
            f"{what} is on the device meta, where it holds no numbers; make the network on another device",
            name=name,
            value=tensor.device,
        )
    if not isinstance(tensor, nn.Parameter):
        return
    if tensor.layout is not torch.strided:
        raise InputError(
            f"{what} has the layout {tensor.layout}; it must be dense: tensor.to_dense()", name=name, value=tensor.layout
        )
    if tensor.ndim > 1 and tensor.numel() == 0:
        raise InputError(
            f"{what} has the shape {tuple(tensor.shape)}; every layer must have at least one input and one output",
            name=name,
            value=tuple(tensor.shape),
        )
    if tensor.is_complex() and tensor.requires_grad:
        raise InputError(
            f"{what} is of type {type_name(tensor.dtype)}; a learnt parameter must be real: learn a real and "
            "an imaginary part, and combine them in forward by torch.complex",
            name=name,
            value=tensor.dtype,
        )
