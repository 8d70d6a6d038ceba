"""The order in which a network runs its layers, and which of them read the data; the order of registration may differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from torch import fx, nn

from pyro_vd._core.threads import alone
from pyro_vd.networks.layer_registry import kind_of
from pyro_vd.networks.substitution import with_tensors


class _Tracer(fx.Tracer):
    """A tracer that enters every module that has children."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not m._modules or super().is_leaf_module(m, module_qualified_name)


@dataclass(frozen=True)
class Execution:
    """The order in which a forward pass uses modules and parameters.

    Attributes:
        rank: the place of a module's, or a parameter's, first use in that order, by path or name.
        readers: the paths of the layers of registered kinds whose input depends on no other such layer.
    """

    rank: dict[str, int]
    readers: frozenset[str]

    def rank_of(self, names: Iterable[str]) -> float:
        """The place of the first use of the parameter that has these names; infinite if it is never used."""
        return min((self.rank[place] for name in names for place in _places(name) if place in self.rank), default=float("inf"))

    def reads_data(self, names: Iterable[str]) -> bool:
        """Whether the layer of the parameter that has these names is among the readers."""
        return any(place in self.readers for name in names for place in _places(name))


def trace_execution(net: nn.Module) -> Execution | None:
    """Follow a forward pass with ``torch.fx``, without running it. None where ``torch.fx`` cannot; ``net`` is not changed."""
    try:
        apart = with_tensors(net, {name: buffer.clone() for name, buffer in net.named_buffers()}, {}, {})
        with alone():  # torch.fx patches nn.Module while it traces, for all threads
            graph = _Tracer().trace(apart)
    except Exception:  # a forward pass of the user's own can raise anything
        return None
    rank: dict[str, int] = {}
    readers: set[str] = set()
    after_a_layer: set[fx.Node] = set()
    for index, node in enumerate(graph.nodes):
        if node.op not in ("call_module", "get_attr"):
            is_layer = False
        else:
            target = cast(str, node.target)
            rank.setdefault(target, index)
            is_layer = node.op == "call_module" and any(map(kind_of, net.get_submodule(target).modules()))
        follows = any(before in after_a_layer for before in node.all_input_nodes)
        if is_layer and not follows:
            readers.add(cast(str, node.target))
        if is_layer or follows:
            after_a_layer.add(node)
    return Execution(rank, frozenset(readers))


def _places(name: str) -> list[str]:
    """A parameter's name and the paths of the modules that contain it, innermost first."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts), -1, -1)]


def in_execution_order(net: nn.Module, names: Sequence[Sequence[str]]) -> list[int]:
    """The order in which parameters are first used, as places in ``names``, which has all names of each parameter."""
    execution = trace_execution(net)
    places = range(len(names))
    return list(places) if execution is None else sorted(places, key=lambda place: execution.rank_of(names[place]))
