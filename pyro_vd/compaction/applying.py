"""Application of a :class:`~.plan.ShrinkPlan` to a network, which becomes smaller."""

from __future__ import annotations

from itertools import zip_longest

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.threads import alone
from pyro_vd.compaction.front import behind_selection
from pyro_vd.compaction.plan import ShrinkPlan, TensorPlan, shrink_tensor
from pyro_vd.networks.checks import check_module
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.layer_sizes import replace_tensor
from pyro_vd.networks.tracing import Trace


@torch.no_grad()
@alone()
def apply_plan(net: nn.Module, plan: ShrinkPlan) -> nn.Module:
    """Make the smaller network that a plan describes.

    Args:
        net: the network that the plan was made for, by :func:`~pyro_vd.compaction.shrink_plan`, or one of the same
            architecture; it is copied, never changed.
        plan: the plan.

    Returns:
        The smaller network in evaluation mode, as :func:`~pyro_vd.compact` gives it.

    Raises:
        InputError: the network lacks a tensor that the plan was made for, its ``forward`` depends on the sizes of its layers,
            tracing cannot follow it, or a parameter is not finite.
    """
    check_module("net", net)
    return applied(Trace(prepared(net)), plan)


def prepared(net: nn.Module) -> nn.Module:
    """Copy a network, in evaluation mode, to trace it and to make it smaller.

    Raises:
        InputError: one of its numbers is not finite.
    """
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name} holds NaN or infinite values; all must be finite", name=name, allowed="finite")
    return copy_network(net).eval()


def applied(trace: Trace, plan: ShrinkPlan) -> nn.Module:
    """Carry out a plan on the network of a trace, which is changed; see :func:`apply_plan`."""
    net = trace.net
    for tensor_plan in plan.tensors:
        _shrink(net, plan, tensor_plan)
    _check_same_operations(trace, Trace(net))
    if plan.inputs is None:
        return net
    whole, selection = behind_selection(net, plan.inputs)
    replace_tensor(selection, "index", selection.index[torch.tensor(plan.inputs.kept, device=selection.index.device)])
    return whole


def _shrink(net: nn.Module, plan: ShrinkPlan, found: TensorPlan) -> None:
    """Carry out the plan for one tensor of the network: add, set to zero, select."""
    path, _, name = found.name.rpartition(".")
    try:
        module = net.get_submodule(path)
        tensor = getattr(module, name)
    except AttributeError as error:
        raise InputError(f"the network has no {found.name}, which the plan was made for", name=found.name) from error
    if found.is_new and tensor is None:
        replace_tensor(module, name, next(module.parameters()).new_zeros(found.shape))
        tensor = getattr(module, name)
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) != found.shape:
        shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else tensor
        raise InputError(
            f"{found.name} has the shape {shape}; the plan is for {found.shape}",
            name=found.name,
            value=shape,
            allowed=str(found.shape),
        )
    new = tensor.detach().clone()
    if found.added:
        new = (new.double() + torch.tensor(found.added, dtype=torch.float64, device=new.device)).to(new.dtype)
    for dim, indices in enumerate(found.zeroed):
        new.index_fill_(dim, torch.tensor(indices, dtype=torch.int64, device=new.device), 0)
    replace_tensor(module, name, shrink_tensor(new, plan, found.name))


def _check_same_operations(before: Trace, after: Trace) -> None:
    """Refuse a network whose forward pass, numbers in it included, differs with the smaller layers."""
    lines = zip_longest(str(before).splitlines(), str(after).splitlines())
    if different := next(((old, new) for old, new in lines if old != new), None):
        raise InputError(
            f"the forward of {type(before.net).__name__} depends on the sizes of its layers: {different[0]} has become "
            f"{different[1]}",
            name="net",
            value=type(before.net).__name__,
        )
