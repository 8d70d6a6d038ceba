"""A network as a graph of operations, and the shapes of the tensors along it."""

from __future__ import annotations

import operator
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast
from zlib import crc32

import torch
from torch import Tensor, fx, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line
from pyro_vd._core.threads import alone
from pyro_vd.networks.layer_registry import exact_kind_of
from pyro_vd.networks.modules import Rescale, SelectInputs

_IN_PLACE = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift")


class _Proxy(fx.Proxy):
    """A proxy that records ``x += y`` as a change in place; torch.fx would record ``x + y``."""


def _in_place(function: Callable[[Any, Any], Any]) -> Callable[[fx.Proxy, Any], fx.Proxy]:
    return lambda self, other: self.tracer.create_proxy("call_function", function, (self, other), {})


for _name in _IN_PLACE:
    setattr(_Proxy, f"__i{_name}__", _in_place(getattr(operator, f"i{_name}")))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        known = isinstance(m, Rescale | SelectInputs) or exact_kind_of(m) is not None
        return known or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def create_arg(self, a: Any) -> Any:
        """Record a tensor that is made in a forward pass as a node with its values; torch.fx would add it to the network."""
        if not isinstance(a, Tensor) or any(a is tensor for tensor in (*self.root.parameters(), *self.root.buffers())):
            return super().create_arg(a)

        def constant() -> Tensor:
            return a

        constant.__name__ = f"tensor_{tuple(a.shape)}_{crc32(str(a.tolist()).encode())}"
        return self.create_node("call_function", constant, (), {})

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except InputError:
            raise
        except Exception as error:
            name = next((name for name, module in self.root.named_modules() if module is m), "of no name")
            raise _not_followed(name, f"module {name!r} ({type(m).__name__})", error) from error


class Trace:
    """A network in evaluation mode as a ``torch.fx`` graph.

    Raises:
        InputError: the network has hooks, does not take exactly one tensor, or does something that tracing cannot follow, such
            as a choice that depends on the values of a tensor.
    """

    def __init__(self, net: nn.Module) -> None:
        check_hooks(net)
        try:
            with alone():  # torch.fx patches nn.Module while it traces, for all threads
                self.graph: torch.fx.Graph = _Tracer().trace(net)
        except InputError:
            raise
        except Exception as error:  # a forward of the user's own can raise anything
            raise _not_followed("net", type(net).__name__, error) from error
        inputs = self.graph.find_nodes(op="placeholder")
        if len(inputs) != 1:
            names = [str(node) for node in inputs]
            raise InputError(
                f"{type(net).__name__} takes {len(inputs)} inputs ({', '.join(names)}); it must take one",
                name="net",
                value=names,
            )
        self.input: Any = inputs[0]
        self.net = net
        self.order: dict[Any, int] = {node: index for index, node in enumerate(self.graph.nodes)}
        self._uses = Counter(use for node in self.graph.nodes for use in self._tensors(node))

    def __str__(self) -> str:
        return "\n".join(str(node.format_node()) for node in self.graph.nodes)

    def module(self, node: fx.Node) -> nn.Module | None:
        """The module that a node calls, None where it calls none."""
        return self.net.get_submodule(cast(str, node.target)) if node.op == "call_module" else None

    def operation(self, node: fx.Node) -> Any:
        """The operation of a node: a type of module, a function or the name of a method."""
        return type(self.module(node)) if node.op == "call_module" else node.target

    def kind(self, node: fx.Node) -> str:
        """The name of a node's operation, for a message."""
        operation = self.operation(node)
        return str(getattr(operation, "__name__", operation))

    def owns_its_tensors(self, node: fx.Node) -> bool:
        """Whether nothing else in the graph uses a parameter or buffer of the node's module."""
        return all(self._uses[use] == 1 for use in self._tensors(node))

    @torch.no_grad()
    def shapes(self, example: Tensor) -> dict[fx.Node, torch.Size]:
        """The shape of the output of every node, for the inputs ``example``.

        Raises:
            InputError: the network cannot take these inputs; or its output differs from that of the graph, for example because
                it asks for the type of its input, or is random.
        """
        interpreter = _Shapes(self.net, graph=self.graph)
        try:
            wanted = self.net(example.clone())
        except Exception as error:
            shape = tuple(example.shape)
            raise InputError(
                f"an input of shape {shape} does not fit the network: {one_line(error)}", name="example", value=shape
            ) from error
        try:
            torch.testing.assert_close(interpreter.run(example.clone()), wanted, equal_nan=True)
        except Exception as error:
            kind = type(self.net).__name__
            raise InputError(
                f"{kind} gives other outputs when it is traced: {one_line(error)}", name="net", value=kind
            ) from error
        return interpreter.found

    def _tensors(self, node: fx.Node) -> Iterator[int]:
        """The ``id`` of each parameter and buffer that a node uses."""
        if node.op == "get_attr":
            yield id(operator.attrgetter(cast(str, node.target))(self.net))
        elif module := self.module(node):
            yield from {id(tensor) for tensor in (*module.parameters(), *module.buffers())}


class _Shapes(fx.Interpreter):
    """An interpreter that keeps the shapes of all outputs."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(module, graph=graph)
        self.found: dict[fx.Node, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, Tensor):
            self.found[n] = value.shape
        return value


def check_hooks(net: nn.Module) -> None:
    """Refuse a network with forward hooks, which can do anything.

    Raises:
        InputError: naming the module.
    """
    for name, module in net.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise InputError(
                f"module {name!r} ({type(module).__name__}) has forward hooks, which can do anything; make their effect "
                "permanent and remove them, as torch.nn.utils.prune.remove does",
                name=name or "net",
                value=type(module).__name__,
            )


def _not_followed(name: str, what: str, error: Exception) -> InputError:
    """An error that quotes the line of the network's own code where following failed."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_foreign(frame.filename)]
    line = f" at `{ours[-1].line}`" if ours and ours[-1].line else ""
    return InputError(f"{what} cannot be followed{line}: {one_line(error)}", name=name)


def _is_foreign(filename: str) -> bool:
    folder = Path(filename).resolve().parent
    return not folder.is_relative_to(Path(torch.__file__).parent) and filename != __file__
