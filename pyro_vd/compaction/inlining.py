"""Graphs inside a graph: those of blocks under ``enable_grad`` or ``autocast`` become part of it, and others are found."""

from __future__ import annotations

from typing import Any

from torch import fx
from torch._higher_order_ops.wrap import wrap_with_autocast, wrap_with_set_grad_enabled
from torch._ops import OpOverload

_SETTINGS: dict[Any, int] = {wrap_with_set_grad_enabled: 1, wrap_with_autocast: 4}
"""By operation that runs a graph of its own, how many arguments come before that graph; the inputs of the graph follow it."""

_OF_NUMBERS = ("_operator", "math", "torch")
"""The modules of the functions that compute sizes and other plain numbers."""


def inline_blocks(whole: fx.GraphModule) -> None:
    """Replace the operations that run a graph under other settings by the operations of that graph."""
    for node in list(whole.graph.nodes):
        if node.target not in _SETTINGS:
            continue
        graph, *inputs = node.args[_SETTINGS[node.target] :]
        block: fx.GraphModule = getattr(whole, graph.target)
        inline_blocks(block)
        copied: dict[fx.Node, Any] = dict(zip(block.graph.find_nodes(op="placeholder"), inputs, strict=True))
        with whole.graph.inserting_before(node):
            outputs: Any = whole.graph.graph_copy(block.graph, copied)
        for user in list(node.users):  # each takes one output
            user.replace_all_uses_with(outputs[user.args[1]])
            whole.graph.erase_node(user)
        whole.graph.erase_node(node)
        if not graph.users:
            whole.graph.erase_node(graph)


def not_followable(graph: fx.Graph) -> list[fx.Node]:
    """The operations that are none on tensors or numbers, such as a choice of graphs, or a transform of ``torch.func``."""
    nodes = (node for node in graph.nodes if node.op not in ("placeholder", "output"))
    return [node for node in nodes if not _computes(node.target)]


def _computes(target: Any) -> bool:
    return isinstance(target, OpOverload) or getattr(target, "__module__", None) in _OF_NUMBERS
