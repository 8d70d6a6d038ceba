"""The graph of a network for batches of any size, and the comparison of a file that holds it with the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection

from pyro_vd._core.arguments import check_numbers
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line
from pyro_vd.export.named_tensors import INPUT, OUTPUT, named, named_inputs, unnamed
from pyro_vd.export.recurrent_shapes import whole_recurrent_layers
from pyro_vd.networks.checks import check_takes
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.inputs import Inputs, call_arguments, map_tensors, run_apart

Dynamic = Sequence[int] | Mapping[str, Sequence[int]]
"""The dimensions that may have any size: of every input that has them, or by the name of an input. Dimension 0 always may."""

_TRACES = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "torch_fn")
"""The entries of a graph that describe the machine and the code it was made with."""


def check_dynamic(dynamic: Any, example: Inputs) -> dict[str, list[int]]:
    """The dimensions of any size by the name of an input.

    Raises:
        InputError: there is no tensor among the inputs, or one has no example; or ``dynamic`` names an input or a dimension
            that is not there.
    """
    tensors = named_inputs(example)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if not shapes or any(not shape or not shape[0] for shape in shapes.values()):
        value: object = shapes.get(INPUT, shapes)
        raise InputError(name="example", value=value, allowed="of the shape of a batch, (n, …), n >= 1, in every tensor")
    if isinstance(dynamic, Mapping):
        if not dynamic.keys() <= tensors.keys():
            raise InputError(name="dynamic", value=dynamic, allowed=f"by the names of inputs: {', '.join(tensors)}")
        of_each = {name: dynamic.get(name, ()) for name in tensors}
        for name, dimensions in of_each.items():
            check_numbers(f"dynamic[{name!r}]", dimensions, low=0, high=tensors[name].ndim - 1)
    else:
        most = max(tensor.ndim for tensor in tensors.values()) - 1
        of_each = dict.fromkeys(tensors, check_numbers("dynamic", dynamic, low=0, high=most))
    return {name: sorted({0, *(d for d in of_each[name] if d < x.ndim)}) for name, x in tensors.items()}


@torch.no_grad()
def probes(net: nn.Module, example: Inputs, dynamic: Mapping[str, Sequence[int]]) -> list[tuple[Inputs, Any]]:
    """Inputs and outputs of a network in evaluation mode on the CPU, to compare a file with.

    There are a batch of 1, and one of 7 in which the other dimensions of any size are shorter by one.

    Raises:
        InputError: the network cannot take the inputs, or gives no tensor.
    """
    net, pairs = copy_network(net).cpu().eval(), []
    for batch, shorter in ((1, 0), (7, 1)):
        x = _resized(example, dynamic, lambda d, size, n=batch, less=shorter: (n if d == 0 else size - less) or 2)
        y = check_takes(net, x)
        if not named(y, OUTPUT):
            kind = type(y).__name__
            raise InputError(
                f"the network's output is a {kind} without a tensor; it must hold tensors",
                name="net",
                value=y,
                allowed="tensors",
            )
        pairs.append((x, y))
    return pairs


def _resized(x: Inputs, dynamic: Mapping[str, Sequence[int]], size_of: Any) -> Any:
    """The same inputs with other sizes; values are repeated where they are not enough."""
    names = iter(named_inputs(x))

    def change(tensor: Tensor) -> Tensor:
        for d in dynamic[next(names)]:
            size = tensor.shape[d]
            tensor = tensor.index_select(d, torch.arange(size_of(d, size), device=tensor.device) % size)
        return tensor.cpu()

    return map_tensors(change, x)


def program(net: nn.Module, example: Inputs, dynamic: Mapping[str, Sequence[int]]) -> ExportedProgram:
    """The graph of a network in evaluation mode on the CPU; only the shapes of ``example`` go into it.

    Its output is one tensor, a tuple of tensors, or a dictionary of tensors by name.

    Raises:
        InputError: the network cannot be exported for every size; the message says why.
    """
    kind, net = type(net).__name__, copy_network(net).cpu().eval()
    given = net.forward

    @wraps(given)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return unnamed(named(given(*args, **kwargs), OUTPUT), OUTPUT)

    vars(net)["forward"] = forward  # classes of outputs from other packages would have to be there where the file is read
    # The exporter would take a size of 1 as fixed.
    blank = map_tensors(torch.zeros_like, _resized(example, dynamic, lambda d, size: 2 if d == 0 else max(2, size)))
    shapes = ShapesCollection()
    for name, tensor in named_inputs(blank).items():
        shapes[tensor] = dict.fromkeys(dynamic[name], Dim.DYNAMIC)
    args, kwargs = call_arguments(blank)
    try:
        with whole_recurrent_layers():
            graph = torch.export.export(net, args, kwargs, dynamic_shapes=shapes, strict=False)
    except Exception as error:  # the exporter raises whatever the network's code does, and errors of its own
        why = one_line(error)[:200]
        raise InputError(f"{kind} cannot be exported for inputs of any size: {why}", name="net", value=kind) from error
    for node in graph.graph.nodes:
        for trace in _TRACES:
            node.meta.pop(trace, None)
    graph.example_inputs = None
    return graph


@torch.no_grad()
def check_same(kind: str, exported: nn.Module, pairs: list[tuple[Inputs, Any]]) -> None:
    """Refuse an exported network whose outputs differ from those of :func:`probes` by more than 1e-5 of the largest.

    Raises:
        InputError: saying by how much they differ.
    """
    for x, y in pairs:
        shapes = [tuple(tensor.shape) for tensor in named_inputs(x).values()]
        wanted, found = named(y, OUTPUT), named(run_apart(exported, x), OUTPUT)
        sizes, given = ({name: tuple(tensor.shape) for name, tensor in each.items()} for each in (wanted, found))
        if sizes != given:
            message = f"as {kind} the network gives {given} for inputs of shape {shapes}, not {sizes}"
            raise InputError(message, name="net", value=given)
        for name, tensor in wanted.items():
            apart = (tensor.double() - found[name].double()).abs().max().item() if tensor.numel() else 0.0
            if not apart <= 1e-5 * max(1, tensor.double().abs().max().item()):
                raise InputError(
                    f"as {kind} the network is another function: for inputs of shape {shapes}, {name} differs by {apart:.1e}",
                    name="net",
                    value=apart,
                )
