"""Networks and likelihoods that cannot be made Bayesian: each is refused with what to do, before anything is copied."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from pyro_vd._core.errors import InputError
from pyro_vd.networks.layer_registry import kind_of, own_weights

_COMPUTING_HOOKS: dict[type[Any], tuple[str, str]] = {
    WeightNorm: ("name", "torch.nn.utils.remove_weight_norm"),
    SpectralNorm: ("name", "torch.nn.utils.remove_spectral_norm"),
    BasePruningMethod: ("_tensor_name", "torch.nn.utils.prune.remove"),
}
"""Hooks that compute a parameter before each forward pass: where they keep its name, and what makes its value permanent."""

_SPREAD = {"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule"}
"""Names of classes, torch's and others', that spread the network inside them over several devices or processes."""


def check_admission(net: nn.Module) -> None:
    """Refuse a network whose weights are not there yet, cannot be reached, or are no ordinary numbers.

    Raises:
        InputError: naming the module and what to do: a lazy layer before its first batch, a ScriptModule, a wrapper that
            spreads a network over devices, a weight that is computed from other parameters, on the meta device, complex,
            not dense, or of width 0.
    """
    for path, module in net.named_modules():
        what = f"module {path!r}" if path else "net"
        _check_kind(what, module)
        _check_computed(what, module)
        for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            _check_tensor(f"{name} of {what} ({type(module).__name__})", tensor)


def check_likelihood_type(likelihood: object) -> None:
    """Refuse learnt parameters of a likelihood that are too coarse to move by small steps.

    Raises:
        InputError: naming the parameter and its type.
    """
    for name, parameter in likelihood.named_parameters() if isinstance(likelihood, nn.Module) else ():
        if parameter.requires_grad and is_coarse(parameter.dtype):
            raise InputError(
                f"the likelihood's {name} is of type {_name(parameter.dtype)}, too coarse to be learnt; it must be float32 or "
                "float64: likelihood.float()"
            )


def is_coarse(dtype: torch.dtype) -> bool:
    """Whether a floating-point type has less precision than float32; bfloat16 loses a step of 0.001 above 1."""
    return torch.finfo(dtype).eps > torch.finfo(torch.float32).eps


def _check_kind(what: str, module: nn.Module) -> None:
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError(
            f"{what} is a {kind.__name__}, whose weights cannot be drawn; give the module that it was compiled from"
        )
    if _SPREAD & {base.__name__ for base in kind.__mro__}:
        raise InputError(
            f"{what} is a {kind.__name__}, which spreads a network over devices; give the network inside it (net.module), and "
            "spread the training instead: DistributedDataParallel(elbo(model, guide))"
        )


def _check_computed(what: str, module: nn.Module) -> None:
    """Refuse a weight that a hook or a parametrization makes from others: a prior on it would have no effect."""
    for hook in module._forward_pre_hooks.values():
        for kind, (place, remedy) in _COMPUTING_HOOKS.items():
            if isinstance(hook, kind):
                name = getattr(hook, place)
                raise InputError(
                    f"{what} ({type(module).__name__}) computes its {name} from other parameters, by {type(hook).__name__}; "
                    f"make it permanent first: {remedy}(module, {name!r})"
                )
    layer_kind = kind_of(module)
    if layer_kind is None or not any(p.requires_grad for p in module.parameters()):
        return
    if computed := [name for name in layer_kind.weights(module) if name not in own_weights(layer_kind, module)]:
        name = computed[0]
        raise InputError(
            f"{what} ({type(module).__name__}) computes its {name} from other parameters, so that it cannot have a prior; make "
            f"it permanent first: torch.nn.utils.parametrize.remove_parametrizations(module, {name!r}), or freeze the module: "
            "module.requires_grad_(False)"
        )


def _check_tensor(what: str, tensor: torch.Tensor) -> None:
    if is_lazy(tensor):
        raise InputError(f"{what} has no shape before the first batch; run the network on one first: net(x[:2])")
    if tensor.is_meta:
        raise InputError(f"{what} is on the device meta, where it holds no numbers; make the network on another device")
    if not isinstance(tensor, nn.Parameter):
        return
    if tensor.layout is not torch.strided:
        raise InputError(f"{what} has the layout {tensor.layout}; it must be dense: tensor.to_dense()")
    if tensor.ndim > 1 and tensor.numel() == 0:
        raise InputError(f"{what} has the shape {tuple(tensor.shape)}; every layer must have at least one input and one output")
    if tensor.is_complex() and tensor.requires_grad:
        raise InputError(
            f"{what} is of type {_name(tensor.dtype)}; what is learnt must be real, such as a real and an imaginary part, put "
            "together in forward by torch.complex"
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
