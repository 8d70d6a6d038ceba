"""The front of a compact network: the flattening that it needs, then the selection of the inputs that it reads."""

from __future__ import annotations

import math
from collections import OrderedDict
from itertools import zip_longest

import torch
from torch import Tensor, fx, nn

from pyro_vd._core.errors import InputError
from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.exported import Exported, operation
from pyro_vd.compaction.labels import varying
from pyro_vd.compaction.plan import InputSelection
from pyro_vd.networks.inputs import Inputs
from pyro_vd.networks.layers import as_matrix, named_layers
from pyro_vd.networks.modules import SelectInputs

_FLATTENING = ("flatten", "view", "reshape", "_unsafe_view")


def default_example(net: nn.Module) -> Tensor:
    """A batch for a network whose first layer takes ``(batch, features)``.

    Raises:
        InputError: the network begins with another layer.
    """
    own = (module for module in net.modules() if isinstance(module, SelectInputs) or list(module.parameters(recurse=False)))
    first = next(own, None)
    if not isinstance(first, SelectInputs):
        first = next((layer for _, layer, _ in named_layers(net)), None)
    if isinstance(first, SelectInputs) and first.dim == -1:
        features = first.in_features
    elif first is not None and not isinstance(first, SelectInputs) and (found := as_matrix(first)) is not None:
        features = found[0].shape[1]
    else:
        raise InputError(
            f"the shape of the inputs of {type(net).__name__} cannot be told from its first layer: give a batch of them as the "
            "argument example",
            name="example",
            value=None,
        )
    like = next((p for p in net.parameters() if p.is_floating_point()), torch.zeros(()))
    return torch.linspace(-1, 1, features).to(like)[None]


def selectable_input(graph: Exported, example: Inputs) -> fx.Node | None:
    """The input of which a network need not take all entries: its only one, unless it begins with a selection already."""
    if not isinstance(example, Tensor) or not example.is_floating_point() or len(graph.inputs) != 1:
        return None
    children = list(graph.net.children()) if type(graph.net) is nn.Sequential else [graph.net]
    after = children[1:] if children and isinstance(children[0], nn.Flatten) else children
    return None if after and isinstance(after[0], SelectInputs) else graph.inputs[0]


def selection_of(analysis: Analysis, node: fx.Node) -> InputSelection | None:
    """How entries of an input can be selected, for a plan to say which; None if they are units along several dimensions."""
    labels = analysis.values[node].labels
    shape = labels.shape
    features = math.prod(shape[1:])
    if node.users and all(_flattens(user, features) for user in node.users):
        return InputSelection(features, -1, True, tuple(range(features)))
    axes = varying(analysis.labels.find(labels))
    if len(axes) != 1:
        return None
    (axis,) = axes
    return InputSelection(shape[axis], -1 if axis == len(shape) - 1 else axis, False, tuple(range(shape[axis])))


def _flattens(node: fx.Node, features: int) -> bool:
    return operation(node) in _FLATTENING and node.meta["val"].shape[1:] == (features,)


def paired(whole: Exported, smaller: Exported) -> list[tuple[fx.Node | None, fx.Node | None]]:
    """The operations of two networks in their order, without those of modules that one of them has in the place of another."""
    inside = "" if type(smaller.net) is type(whole.net) else "net"
    kinds = {path: type(module) for path, module in whole.net.named_modules()}
    own = {path: type(module) for path, module in smaller.net.named_modules()}
    its = {path.removeprefix(inside).lstrip("."): kind for path, kind in own.items() if path.startswith(inside)}

    def stays(path: str) -> bool:
        parts = path.split(".")
        above = ["", *(".".join(parts[: end + 1]) for end in range(len(parts)))]
        return all(kinds.get(each) is its.get(each, type(None)) for each in above)

    theirs = [(node, smaller.path(node)) for node in smaller.nodes]
    left = [node for node, path in theirs if path.startswith(inside) and stays(path.removeprefix(inside).lstrip("."))]
    return list(zip_longest((node for node in whole.nodes if stays(whole.path(node))), left))


def behind_selection(net: nn.Module, inputs: InputSelection) -> tuple[nn.Sequential, SelectInputs]:
    """The network with a selection of all its inputs in front, and that selection; the modules are those of ``net``."""
    children = list(net._modules.items()) if type(net) is nn.Sequential else [("net", net)]
    front: list[tuple[str, nn.Module | None]] = []
    if inputs.flatten:
        front = [children.pop(0)] if isinstance(children[0][1], nn.Flatten) else [("flatten", nn.Flatten())]
    device = next((tensor.device for tensor in (*net.parameters(), *net.buffers())), None)
    selection = SelectInputs(inputs.features, inputs.features, inputs.dim).to(device)
    names = dict(children)
    front = [(name if name not in names else f"{name}_", module) for name, module in (*front, ("inputs", selection))]
    whole = OrderedDict((name, module) for name, module in (*front, *children) if module is not None)
    return nn.Sequential(whole).eval(), selection
