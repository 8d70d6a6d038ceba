"""An exactly equivalent smaller network: units and inputs that no longer matter are removed."""

from __future__ import annotations

import logging
import math
from collections import OrderedDict
from itertools import zip_longest

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.compaction.graph import UnitGraph
from pyro_vd.networks.checks import check_example, check_module
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.layer_registry import exact_kind_of, kind_of
from pyro_vd.networks.modes import alone
from pyro_vd.networks.modules import SelectInputs
from pyro_vd.networks.operations import is_batch_size_only, is_flatten
from pyro_vd.networks.tracing import Trace

logger = logging.getLogger(__name__)


def compact(net: nn.Module, example: Tensor | None = None) -> nn.Module:
    """The same function as a smaller ordinary network, without the units, filters and inputs that do not matter.

    A weight counts as removed where it is exactly zero. A unit goes that no path of non-zero weights leads from to the
    output; and one that is constant, its value added to the biases of the layers that read it. All that follows from that goes
    too. Output units stay, and one unit of a layer that has none left. The outputs are equal, but for rounding, wherever
    inputs and activations are finite. What is constant or goes together through

    ============================================  ==================================================================
    linear layer                                  constant if all its weights are zero or their inputs constant
    convolution                                   the same; a constant other than 0 stays where zeros are padded to it
    transposed convolution                        the same; a constant other than 0 stays
    activation, dropout, batch normalisation      by unit
    max, average and adaptive pooling             by filter; an average that counts padding is not constant
    sum, difference and product of two tensors    by unit: those at one place go together; of a quotient both stay
    flattening                                    a filter becomes a block of features, which goes as one
    any other operation                           the units that it reads stay as they are, and a message names it
    ============================================  ==================================================================

    Layers with a shared parameter, groups, or no batch dimension count as any other operation.

    Args:
        net: the network; it is copied, never changed. Tracing follows its ``forward``.
        example: a batch that it takes, of any size; its values serve to check the tracing alone. It can be left out where the
            first layer is linear and takes ``(batch, features)``.

    Returns:
        An ``nn.Sequential`` for one, else a copy of the network with smaller layers, in evaluation mode. Where inputs go, a
        :class:`~pyro_vd.networks.SelectInputs` takes the others from the whole input, in an ``nn.Sequential`` in front of it.

    Raises:
        InputError: tracing cannot follow the network, its ``forward`` depends on the sizes of its layers, a parameter is not
            finite, or the example is missing or does not fit.
    """
    small, messages = compacted(net, example)
    for message in messages:
        logger.warning(message)
    return small


@torch.no_grad()
@alone()
def compacted(net: nn.Module, example: Tensor | None = None) -> tuple[nn.Module, list[str]]:
    """What :func:`compact` gives, and what there is to say of it; arguments and errors are those of :func:`compact`."""
    check_module("net", net)
    example = example if example is None else check_example(net, example)
    _check(net)
    small = copy_network(net).eval()
    trace = Trace(small)
    example = _default_example(trace) if example is None else example
    if example.ndim < 2:
        raise InputError(f"example has the shape {tuple(example.shape)}; it must be a batch, (n, …)")
    whole, selection = _with_selection(trace, example)
    trace = Trace(whole)
    graph = UnitGraph(trace, example)
    for part in graph.parts:
        part.shrink()
    _compare(trace, Trace(whole))
    messages = list(graph.messages)
    if not all(part.output.live.any() for part in graph.parts if part.module is selection):
        messages.append("no input reaches the output: the network is a constant predictor")
    return small if selection.out_features == selection.in_features else whole, messages


@torch.no_grad()
def holds_zeros(net: nn.Module) -> bool:
    """Whether a weight of a layer or of a normalisation is zero; where none is, :func:`compact` finds nothing to remove."""
    weights = (getattr(module, "weight", None) for module in net.modules())
    return any(isinstance(weight, Tensor) and int(torch.count_nonzero(weight)) < weight.numel() for weight in weights)


def _check(net: nn.Module) -> None:
    if not isinstance(net, nn.Module):
        raise InputError(f"net is a {type(net).__name__}; it must be an nn.Module")
    if hasattr(net, "to_module"):
        raise InputError(f"{type(net).__name__} has no weights of its own; net must be what prune(model, guide) gives")
    for name, tensor in (*net.named_parameters(), *net.named_buffers()):
        if not torch.isfinite(tensor).all():
            raise InputError(f"{name} holds NaN or infinite values; all must be finite")


def _default_example(trace: Trace) -> Tensor:
    """A batch for a network whose first layer is linear."""
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
            "as the argument example"
        )
    like = next((p for p in trace.net.parameters() if p.is_floating_point()), torch.zeros(()))
    return torch.linspace(-1, 1, features).to(like)[None]


def _with_selection(trace: Trace, example: Tensor) -> tuple[nn.Module, SelectInputs]:
    """The network with a selection of all inputs in front, behind the flattening that it begins with, and that selection."""
    net, users = trace.net, list(trace.input.users)
    children = list(net._modules.items()) if type(net) is nn.Sequential else [("net", net)]
    flat = all(is_flatten(trace, user, example.ndim) or is_batch_size_only(user) for user in users)
    front: list[tuple[str, nn.Module | None]] = []
    if flat:
        front = [children.pop(0)] if isinstance(children[0][1], nn.Flatten) else [("flatten", nn.Flatten())]
    if children and isinstance(found := children[0][1], SelectInputs):
        return net, found
    last = flat or example.ndim == 2 or any(_reads_last(trace.module(user), example.ndim) for user in users)
    dim = -1 if last else 1
    features = math.prod(example.shape[1:]) if flat else example.shape[dim]
    device = next((tensor.device for tensor in (*net.parameters(), *net.buffers())), example.device)
    selection = SelectInputs(features, features, dim).to(device)
    names = dict(children)
    front = [(name if name not in names else f"{name}_", module) for name, module in (*front, ("inputs", selection))]
    whole = OrderedDict((name, module) for name, module in (*front, *children) if module is not None)
    return nn.Sequential(whole).eval(), selection


def _reads_last(module: nn.Module | None, ndim: int) -> bool:
    """Whether a layer has its units in the last dimension of an input of ``ndim`` dimensions."""
    kind = exact_kind_of(module)
    return module is not None and kind is not None and kind.unit_axis(module, ndim) == ndim - 1


def _compare(before: Trace, after: Trace) -> None:
    """Make sure that the forward does the same things with the smaller layers, numbers in it included."""
    lines = zip_longest(str(before).splitlines(), str(after).splitlines())
    if different := next(((old, new) for old, new in lines if old != new), None):
        raise InputError(
            f"the forward of {type(before.net).__name__} depends on the sizes of its layers: {different[0]} has become "
            f"{different[1]}"
        )
