"""The value of a node, by the rule for its operation."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from typing import Any, cast

import torch
from torch import Tensor, fx

from pyro_vd._core.messages import one_line
from pyro_vd.compaction import (
    rules_attention,
    rules_bilinear,
    rules_convolutions,
    rules_elementwise,
    rules_embedding,
    rules_layers,
    rules_movement,
    rules_norms,
    rules_positions,
    rules_recurrent,
)
from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.exported import Exported, NotExportedError, may_be_view, operation
from pyro_vd.compaction.rules_norms import is_memory
from pyro_vd.compaction.values import Value, known, unknown, values_in

Rule = Callable[[Analysis, fx.Node, tuple[Any, ...], dict[str, Any]], Any]

RULES: dict[str, Rule] = {
    **rules_movement.RULES,
    **rules_elementwise.RULES,
    **rules_layers.RULES,
    **rules_convolutions.RULES,
    **rules_positions.RULES,
    **rules_norms.RULES,
    **rules_recurrent.RULES,
    **rules_embedding.RULES,
    **rules_bilinear.RULES,
    **rules_attention.RULES,
}
"""By the name of an operation of PyTorch (aten), without the underscore of those that work in place."""


_MAKES_UNITS = frozenset({"embedding", "embedding_bag"})
"""Operations that make units even of what is known, as an embedding of positions does."""


@torch.inference_mode(False)
@torch.enable_grad()
def analyse(graph: Exported, labelled: Collection[fx.Node] = ()) -> Analysis:
    """Find what is known of all tensors in a graph; the entries of the examples in the ``labelled`` inputs become units.

    Raises:
        NotExportedError: an operation is used in a way that its rule does not foresee.
    """
    analysis = Analysis(graph)
    for node in graph.inputs:
        shape = node.meta["val"].shape
        value = unknown(shape)
        if node in labelled:
            entries = analysis.labels.new(shape[1:].numel()).reshape(1, *shape[1:]).expand(shape)
            value = Value(entries, analysis.root.expand(shape))
        analysis.values[node] = analysis.watched(value)
    for node, name in graph.names.items():
        analysis.values[node] = known(graph.tensor(name), {} if is_memory(graph, name) else analysis.places.sources(name))
    for node, tensor in graph.constants.items():
        analysis.values[node] = known(tensor)
    for node in graph.nodes:
        try:
            found = _value_of(analysis, node)
        except Exception as error:  # an operation has more forms than its rule knows: sizes that depend on values, other types
            raise NotExportedError(f"this use of {operation(node)} is not known: {one_line(error)}") from error
        many = isinstance(found, list)
        analysis.values[node] = [analysis.watched(part) for part in found] if many else analysis.watched(found)
    for node in graph.outputs:
        if isinstance(value := analysis.values[node], Value):
            analysis.hold_value(None, value)
    return analysis


def _value_of(analysis: Analysis, node: fx.Node) -> Any:
    """What is known of the output of a node, given the values of the nodes before it."""
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda source: analysis.values.get(source, source))
    if node.target is operator.getitem:
        whole, index = cast(Any, args)
        return whole[index] if isinstance(whole, list) else whole
    name, changed = operation(node), _changed(node)
    given = list(values_in((args, kwargs)))
    fixed = all(value.concrete is not None for value in given) and name not in _MAKES_UNITS
    fixed &= name not in rules_layers.RULES or all(value.filler is None for value in given)
    if fixed and not changed and _is_deterministic(node):
        result = _carried_out(analysis, node, name, args, kwargs, given)
    else:
        rule = RULES.get(name.rstrip("_") if changed else name)
        result = analysis.unknown(node, args, kwargs) if rule is None else rule(analysis, node, args, kwargs)
    for source in changed:
        _write(analysis, node, source, result)
    return result


def _carried_out(analysis: Analysis, node: fx.Node, name: str, args: Any, kwargs: Any, given: list[Value]) -> Any:
    """The output of an operation on tensors that are known."""
    if name in rules_movement.RULES:
        return rules_movement.RULES[name](analysis, node, args, kwargs)
    target: Any = node.target
    plain = _map_values(lambda value: value.concrete, (args, kwargs))
    made = target(*plain[0], **plain[1])
    if name in rules_elementwise.RULES and isinstance(made, Tensor):
        return rules_elementwise.of_known(analysis, node, made, given)
    for value in given:
        analysis.hold_value(node, value)
    return (
        [known(part) for part in made] if isinstance(made, tuple | list) else known(made) if isinstance(made, Tensor) else made
    )


def _map_values(function: Callable[[Value], Any], tree: Any) -> Any:
    if isinstance(tree, Value):
        return function(tree)
    if isinstance(tree, tuple | list):
        return type(tree)(_map_values(function, item) for item in tree)
    return {key: _map_values(function, item) for key, item in tree.items()} if isinstance(tree, dict) else tree


def _is_deterministic(node: fx.Node) -> bool:
    return torch.Tag.nondeterministic_seeded not in getattr(node.target, "tags", ())


def _changed(node: fx.Node) -> list[fx.Node]:
    """The inputs that an operation changes in place."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return []
    given = dict(zip((argument.name for argument in schema.arguments), node.args, strict=False)) | node.kwargs
    writes = (
        argument.name for argument in schema.arguments if argument.alias_info is not None and argument.alias_info.is_write
    )
    return [source for name in writes if isinstance(source := given.get(name), fx.Node)]


def _write(analysis: Analysis, node: fx.Node, source: fx.Node, result: Any) -> None:
    """Replace the value of a tensor that was changed in place; nothing is known any more of others that share its memory."""
    order = {other: place for place, other in enumerate(analysis.graph.nodes)}
    for alias in (alias for alias in _aliases(source) if alias in analysis.values):
        if alias is source and isinstance(result, Value) and result.shape == analysis.values[source].shape:
            analysis.values[alias] = result
        elif any(order.get(user, len(order)) > order[node] for user in alias.users):
            analysis.values[alias] = analysis.unknown(alias, analysis.values[alias], analysis.values[source], result)


def _aliases(node: fx.Node) -> list[fx.Node]:
    """The nodes that may share memory with a node's output, itself included."""
    base = node
    while may_be_view(base) and isinstance(base.args[0], fx.Node):
        base = base.args[0]
    found, pending = [], [base]
    while pending:
        found.append(node := pending.pop())
        pending += [user for user in node.users if may_be_view(user) and user.args[0] is node]
    return found
