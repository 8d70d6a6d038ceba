"""The front of a compact network: the flattening that it needs, then the selection of the inputs that it reads."""

from __future__ import annotations

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.compaction.plan import InputSelection
from pyro_vd.networks.layer_registry import exact_kind_of, kind_of
from pyro_vd.networks.modules import SelectInputs
from pyro_vd.networks.operations import is_batch_size_only, is_flatten
from pyro_vd.networks.tracing import Trace


def default_example(trace: Trace) -> Tensor:
    """A batch for a network whose first layer takes ``(batch, features)``.

    Raises:
        InputError: the network begins with another layer.
    """
    modules = [module for node in trace.graph.nodes if (module := trace.module(node)) is not None]
    first = next((m for m in modules if isinstance(m, SelectInputs) or list(m.parameters())), None)
    kind = None if first is None else kind_of(first)
    if first is not None and kind is not None and kind.unit_axis(first, 2) == 1:
        features, _ = kind.units(first)
    elif isinstance(first, SelectInputs) and first.dim == -1:
        features = first.in_features
    else:
        raise InputError(
            f"the shape of the inputs of {type(trace.net).__name__} cannot be told from its first layer: give a batch of them "
            "as the argument example",
            name="example",
            value=None,
        )
    like = next((p for p in trace.net.parameters() if p.is_floating_point()), torch.zeros(()))
    return torch.linspace(-1, 1, features).to(like)[None]


def inputs_of(trace: Trace, example: Tensor) -> InputSelection | SelectInputs:
    """The selection that a network begins with; else the description of a selection of all inputs, to put in front of it."""
    net, users = trace.net, list(trace.input.users)
    flatten = all(is_flatten(trace, user, example.ndim) or is_batch_size_only(user) for user in users)
    children = list(net.children()) if type(net) is nn.Sequential else [net]
    after = children[1:] if flatten and isinstance(children[0], nn.Flatten) else children
    if after and isinstance(found := after[0], SelectInputs):
        return found
    last = flatten or example.ndim == 2 or any(_reads_last(trace.module(user), example.ndim) for user in users)
    dim = -1 if last else 1
    features = math.prod(example.shape[1:]) if flatten else example.shape[dim]
    return InputSelection(features, dim, flatten, tuple(range(features)))


def behind_selection(
    net: nn.Module, inputs: InputSelection, device: torch.device | None = None
) -> tuple[nn.Sequential, SelectInputs]:
    """The network with a selection of all its inputs in front, and that selection; the modules are those of ``net``.

    ``device`` is where the selection is put if ``net`` has no tensors.
    """
    children = list(net._modules.items()) if type(net) is nn.Sequential else [("net", net)]
    front: list[tuple[str, nn.Module | None]] = []
    if inputs.flatten:
        front = [children.pop(0)] if isinstance(children[0][1], nn.Flatten) else [("flatten", nn.Flatten())]
    device = next((tensor.device for tensor in (*net.parameters(), *net.buffers())), device)
    selection = SelectInputs(inputs.features, inputs.features, inputs.dim).to(device)
    names = dict(children)
    front = [(name if name not in names else f"{name}_", module) for name, module in (*front, ("inputs", selection))]
    whole = OrderedDict((name, module) for name, module in (*front, *children) if module is not None)
    return nn.Sequential(whole).eval(), selection


def _reads_last(module: nn.Module | None, ndim: int) -> bool:
    """Whether a layer has its units in the last dimension of an input of ``ndim`` dimensions."""
    kind = exact_kind_of(module)
    return module is not None and kind is not None and kind.unit_axis(module, ndim) == ndim - 1
