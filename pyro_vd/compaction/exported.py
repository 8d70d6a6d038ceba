"""A network as the graph of operations that ``torch.export`` finds, with the tensors that each operation reads."""

from __future__ import annotations

import io
import logging
import operator
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import first_line, one_line, quoted, some_of
from pyro_vd._core.threads import alone
from pyro_vd.compaction.inlining import inline_blocks, not_followable
from pyro_vd.networks.checks import check_hooks
from pyro_vd.networks.inputs import Inputs, call_arguments, map_tensors, run_apart

_OF_THE_NETWORK = {InputKind.PARAMETER, InputKind.BUFFER}


class Exported:
    """The graph of a network in evaluation mode for one batch of inputs.

    Attributes:
        net: the network.
        example: the inputs.
        nodes: the operations in their order, without placeholders and output.
        names: by placeholder, the name of the parameter or buffer that it stands for; one name for a shared tensor.
        constants: by placeholder, the value of a tensor that the forward pass makes by itself.
        inputs: the placeholders of the tensors that the user gives.
        outputs: the nodes that the network returns.

    Raises:
        InputError: the network has hooks, or cannot take the inputs.
        NotExportedError: ``torch.export`` cannot follow it, for example because of a choice that depends on values.
    """

    def __init__(self, net: nn.Module, example: Inputs) -> None:
        check_hooks(net)
        self.net = net
        self.example: Inputs = example
        args, kwargs = call_arguments(map_tensors(torch.clone, example))
        try:
            with _quiet(), torch.no_grad():
                _start_autograd()
                program = torch.export.export(net, args, kwargs, strict=False)
        except Exception as error:  # a forward of the user's own can raise anything
            _check_fits(net, example)
            raise NotExportedError(_reason(error)) from error
        inline_blocks(program.graph_module)
        if foreign := not_followable(program.graph):
            kinds = list(dict.fromkeys(operation(node) for node in foreign if node.op != "get_attr"))
            raise NotExportedError(some_of("its graph holds operations that are not on tensors", kinds))
        signature = {spec.arg.name: spec for spec in program.graph_signature.input_specs}
        self.names: dict[fx.Node, str] = {}
        self.constants: dict[fx.Node, Tensor] = {}
        self.inputs: list[fx.Node] = []
        first_names: dict[int, str] = {}
        for node in program.graph.find_nodes(op="placeholder"):
            spec = signature[node.name]
            if spec.kind in _OF_THE_NETWORK:
                name = str(spec.target)
                self.names[node] = first_names.setdefault(id(operator.attrgetter(name)(net)), name)
            elif spec.kind is InputKind.CONSTANT_TENSOR:
                self.constants[node] = program.constants[str(spec.target)]
            elif isinstance(node.meta.get("val"), Tensor):
                self.inputs.append(node)
        program.graph.eliminate_dead_code()  # such as the mean of weights of attention that nobody reads
        (end,) = program.graph.find_nodes(op="output")
        self.outputs: list[fx.Node] = list(end.all_input_nodes)
        self.nodes: list[fx.Node] = [node for node in program.graph.nodes if node.op not in ("placeholder", "output")]

    def tensor(self, name: str) -> Tensor:
        """The parameter or buffer of this name."""
        found: Tensor = operator.attrgetter(name)(self.net)
        return found.detach()

    def uses(self, name: str) -> int:
        """How many operations read a parameter or buffer, in whatever shape."""
        return sum(_uses(node) for node, found in self.names.items() if found == name)

    def parts(self) -> dict[str, int]:
        """By name of a weight, the number of groups of the convolutions that read it, if it is one and others do not."""
        found: dict[str, set[int]] = {}
        for node, name in self.names.items():
            found.setdefault(name, set()).update(_groups(user) if node in user.args[1:2] else 1 for user in node.users)
        return {name: groups.pop() for name, groups in found.items() if len(groups) == 1 and max(groups) > 1}

    def path(self, node: fx.Node) -> str:
        """The path of the module whose forward pass runs a node."""
        stack = list(node.meta.get("nn_module_stack", {}).values())
        return str(stack[-1][0]).split("@")[0] if stack else ""


@torch.inference_mode(False)
@torch.enable_grad()
def _start_autograd() -> None:
    """Begin autograd before torch.export runs, which makes it count GPUs that are not there, and begin a thread for each.

    With such threads torch refuses to train in a process that is forked from this one.
    """
    torch.zeros(1, requires_grad=True, device="cpu").sum().backward()


class NotExportedError(Exception):
    """The network cannot be followed; the text says why."""


def operation(node: fx.Node) -> str:
    """The name of a node's operation, such as ``conv2d``."""
    target: Any = node.target
    name = getattr(target, "_opname", None) or getattr(target, "__name__", str(target))
    return str(name)


def literals(node: fx.Node) -> list[Any]:
    """The arguments of a node that are no tensors."""
    flat = torch.utils._pytree.tree_leaves((node.args, node.kwargs))
    return [part for part in flat if not isinstance(part, fx.Node)]


_MAY_BE_VIEWS = ("reshape", "flatten", "unflatten", "contiguous", "to", "type_as", "dropout", "expand_as", "chunk", "movedim")


def may_be_view(node: fx.Node) -> bool:
    """Whether a node's output may share memory with its first input."""
    if node.target is operator.getitem:
        return True
    schema = getattr(node.target, "_schema", None)
    first = schema.arguments[0] if schema is not None and schema.arguments else None
    return (first is not None and first.alias_info is not None) or operation(node).rstrip("_") in _MAY_BE_VIEWS


def _groups(node: fx.Node) -> int:
    """The number of groups of a convolution; 1 for other operations."""
    is_convolution = operation(node).startswith("conv") and len(node.args) > 6
    return cast(int, node.args[6]) if is_convolution else 1


def _uses(node: fx.Node) -> int:
    """How many operations read the entries of a node; one that only looks at them in another way is not counted itself."""
    return sum(_uses(user) if may_be_view(user) and user.args[0] is node else 1 for user in node.users)


def _reason(error: Exception) -> str:
    """The first sentence of an error, and the line of the network's own code where it came up."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_foreign(frame.filename)]
    line = f" at `{ours[-1].line}`" if ours and ours[-1].line else ""
    return quoted(first_line(error), 160) + line


def _is_foreign(filename: str) -> bool:
    folder = Path(filename).resolve().parent
    return not folder.is_relative_to(Path(torch.__file__).resolve().parent) and filename != __file__


def _check_fits(net: nn.Module, example: Inputs) -> None:
    """Refuse inputs that the network itself cannot take."""
    try:
        with torch.no_grad():
            run_apart(net, example)
    except Exception as error:
        shapes = map_tensors(lambda tensor: tuple(tensor.shape), example)
        raise InputError(
            f"an input of shape {shapes} does not fit the network: {one_line(error)}", name="example", value=shapes
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Let one thread at a time export, without messages of PyTorch about itself."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.__trace")]
    levels = [found.level for found in loggers]
    with alone(), warnings.catch_warnings(), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # torch.export warns of its own ways, such as those with the weights of nn.LSTM
        for found in loggers:
            found.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for found, level in zip(loggers, levels, strict=True):
                found.setLevel(level)
