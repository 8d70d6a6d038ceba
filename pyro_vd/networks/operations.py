"""Operations of a traced network that act on each unit separately."""

from __future__ import annotations

import operator
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import fx, nn

from pyro_vd.networks.modules import Rescale
from pyro_vd.networks.tracing import Trace

ELEMENTWISE: frozenset[Any] = frozenset(
    {
        *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.LogSigmoid),
        *(nn.Tanh, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Identity, Rescale),
        *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout),
        *(F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.sigmoid, F.logsigmoid, F.tanh),
        *(F.softplus, F.softsign, F.hardtanh, F.hardsigmoid, F.hardswish, F.dropout),
        *(torch.relu, torch.sigmoid, torch.tanh, "relu", "sigmoid", "tanh", "contiguous"),
        *(operator.add, operator.sub, operator.mul, operator.truediv),
        *(operator.iadd, operator.isub, operator.imul, operator.itruediv),
        *(torch.add, torch.sub, torch.mul, torch.div, "add", "sub", "mul", "div"),
    }
)
"""Operations whose output at each place depends on the inputs at the same place alone: modules, functions and methods.

Their outputs are finite where their inputs are, except for division.
"""

_DIVISION: frozenset[Any] = frozenset({operator.truediv, operator.itruediv, torch.div, "div"})

POOLING: dict[Any, int] = {
    getattr(place, f"{kind}{rank}d"): rank
    for rank in (1, 2, 3)
    for place, kinds in (
        (nn, ("MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool")),
        (F, ("max_pool", "avg_pool", "adaptive_max_pool", "adaptive_avg_pool")),
    )
    for kind in kinds
}
"""Pooling operations, with the number of their spatial dimensions."""


def is_batch_size(node: fx.Node) -> bool:
    """Whether a node is ``x.size(0)`` or ``x.shape[0]``."""
    if node.op == "call_method" and node.target == "size":
        return node.args[1:] == (0,)
    return node.target is operator.getitem and is_shape(node.args[0]) and node.args[1:] == (0,)


def is_shape(node: Any) -> bool:
    """Whether a node is ``x.size()`` or ``x.shape``."""
    if not isinstance(node, fx.Node):
        return False
    whole = node.op == "call_method" and node.target == "size" and len(node.args) == 1 and not node.kwargs
    return whole or (node.target is getattr and node.args[1:] == ("shape",))


def is_batch_size_only(node: fx.Node) -> bool:
    """Whether a node is the batch size, or a shape of which only the batch size is used."""
    return is_batch_size(node) or (is_shape(node) and all(map(is_batch_size, node.users)))


def is_flatten(trace: Trace, node: fx.Node, ndim: int) -> bool:
    """Whether a node flattens all of its input's ``ndim`` dimensions but the first, whatever their sizes."""
    module, operation = trace.module(node), trace.operation(node)
    if isinstance(module, nn.Flatten):
        return module.start_dim == 1 and module.end_dim in (-1, ndim - 1)
    if operation in (torch.flatten, "flatten"):
        given = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | node.kwargs
        return bool(given.get("start_dim") == 1 and given.get("end_dim", -1) in (-1, ndim - 1))
    if operation not in (torch.reshape, "view", "reshape"):
        return False
    sizes = node.args[1] if len(node.args) == 2 and isinstance(node.args[1], tuple | list) else node.args[1:]
    if len(sizes) != 2 or sizes[1] != -1 or not isinstance(sizes[0], fx.Node) or not is_batch_size(sizes[0]):
        return False
    sized = cast(fx.Node, sizes[0].args[0])
    return (sized.args[0] if is_shape(sized) else sized) in (node.args[0], trace.input)


def is_elementwise(trace: Trace, node: fx.Node) -> bool:
    """Whether a node is one of :data:`ELEMENTWISE`, is not random, and does not divide by units, which may become 0."""
    operation = trace.operation(node)
    if operation in _DIVISION and isinstance(node.args[1] if len(node.args) > 1 else node.kwargs["other"], fx.Node):
        return False
    return operation in ELEMENTWISE and (operation is not F.dropout or node.kwargs.get("training") is False)


def is_in_place(trace: Trace, node: fx.Node) -> bool:
    """Whether a node, one of :data:`ELEMENTWISE`, changes its first input."""
    in_place = node.kwargs.get("inplace", getattr(trace.module(node), "inplace", False))
    return bool(in_place) or node.target in (operator.iadd, operator.isub, operator.imul, operator.itruediv)
