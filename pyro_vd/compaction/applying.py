"""Application of a :class:`~.plan.ShrinkPlan` to a network, which becomes smaller."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.threads import alone
from pyro_vd.compaction.front import behind_selection
from pyro_vd.compaction.labels import along
from pyro_vd.compaction.plan import ShrinkPlan, shrink_tensor
from pyro_vd.compaction.tensor_plan import TensorPlan
from pyro_vd.networks.checks import check_module
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.layer_sizes import replace_parameter, replace_tensor

Owners = dict[int, list[tuple[nn.Module, str]]]
"""By the ``id`` of a parameter, the modules that hold it, and its name there."""


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
        InputError: the network lacks a tensor that the plan was made for, or a parameter is not finite.
    """
    check_module("net", net)
    return applied(prepared(net), plan)


def prepared(net: nn.Module) -> nn.Module:
    """Copy a network, in evaluation mode, to follow it and to make it smaller.

    Raises:
        InputError: one of its parameters is not finite, or a buffer is not a number.
    """
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name} holds NaN or infinite values; all must be finite", name=name, allowed="finite")
    return copy_network(net).eval()


def applied(net: nn.Module, plan: ShrinkPlan) -> nn.Module:
    """Carry out a plan on a network, which is changed; see :func:`apply_plan`."""
    for found in plan.modules:
        found.carry_out(net)
    owners: Owners = {}
    for module in net.modules():
        for name, parameter in module._parameters.items():
            owners.setdefault(id(parameter), []).append((module, name))
    for tensor_plan in plan.tensors:
        _shrink(net, plan, tensor_plan, owners)
    if plan.inputs is None:
        return net
    whole, selection = behind_selection(net, plan.inputs)
    replace_tensor(selection, "index", selection.index[torch.tensor(plan.inputs.kept, device=selection.index.device)])
    return whole


def _shrink(net: nn.Module, plan: ShrinkPlan, found: TensorPlan, owners: Owners) -> None:
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
    for dim, factors in enumerate(found.factors):
        if factors:
            by_index = torch.tensor(factors, dtype=torch.float64, device=new.device)
            new = (new.double() * along(by_index, dim, new.shape)).to(new.dtype)
    found.zero(new)
    replace_tensor(module, name, shrink_tensor(new, plan, found.name))
    for other, shared in owners.get(id(tensor), ()):  # a shared parameter stays shared
        if other._parameters[shared] is tensor:
            replace_parameter(other, shared, module._parameters[name])
