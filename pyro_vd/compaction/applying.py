"""Application of a :class:`~.plan.ShrinkPlan` to a network, which becomes smaller."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.threads import alone
from pyro_vd.compaction.front import behind_selection
from pyro_vd.compaction.labels import along
from pyro_vd.compaction.norms import replace_norm
from pyro_vd.compaction.plan import AttentionPlan, EmbeddingPlan, ShrinkPlan, shrink_tensor
from pyro_vd.compaction.tensor_plan import TensorPlan
from pyro_vd.networks.attention import Attention
from pyro_vd.networks.checks import check_module
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.layer_sizes import replace_number, replace_parameter, replace_tensor
from pyro_vd.networks.remapped import RemappedEmbedding, can_share_rows, remapped

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
    for attention in plan.attentions:
        replace_attention(net, attention)
    for embedding in plan.embeddings:
        remap_embedding(net, embedding)
    for norm in plan.norms:
        replace_norm(net, norm)
    for attribute in plan.attributes:
        value = attribute.value if attribute.is_tuple else attribute.value[0]
        replace_number(net.get_submodule(attribute.module), attribute.name, value)
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


def replace_attention(net: nn.Module, found: AttentionPlan) -> None:
    """Put an attention whose heads have widths of their own in the place of a module of PyTorch, or make such a one smaller.

    Raises:
        InputError: there is another module in that place.
    """
    whole = net.get_submodule(found.module)
    if isinstance(whole, Attention):
        whole.num_heads, whole.head_dim, whole.value_dim = found.heads, found.width, found.value_width
        return
    if not isinstance(whole, nn.MultiheadAttention):
        raise InputError(f"{found.module} is a {type(whole).__name__}, not an nn.MultiheadAttention", name=found.module)
    _replace(net, whole, Attention(whole, found.heads, found.width, found.value_width))
    for module in net.modules():
        if isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False


def remap_embedding(net: nn.Module, found: EmbeddingPlan) -> None:
    """Let ids share the rows of an embedding; its weight has all of its rows until the plan for it is carried out.

    Raises:
        InputError: there is another module in that place, or one with another number of rows.
    """
    whole = net.get_submodule(found.module)
    count = len(cast(Tensor, whole.weight)) if can_share_rows(whole) else 0
    if count != len(found.rows):
        raise InputError(
            f"{found.module} is {whole}, not an embedding of {len(found.rows)} rows", name=found.module, value=count
        )
    if isinstance(whole, RemappedEmbedding):
        whole.take_rows(torch.tensor(found.rows))
    else:
        _replace(net, whole, remapped(whole, torch.tensor(found.rows)))


def _replace(net: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in all places of another one."""
    for module in net.modules():
        for name, child in module._modules.items():
            if child is old:
                module._modules[name] = new


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
