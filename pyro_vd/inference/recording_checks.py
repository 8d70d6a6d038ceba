"""What a recorded forward pass may do: its graph runs again and again, and its Python code does not."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line

FILLS = frozenset({"normal_", "uniform_", "bernoulli_", "exponential_", "log_normal_", "cauchy_", "geometric_", "random_"})
"""Functions that overwrite a tensor with noise."""
_DRAWS = FILLS | {"randn", "rand", "randint", "randperm", "randn_like", "rand_like", "randint_like", "normal"}
"""Functions whose noise depends on shapes alone; :func:`draws_apart` looks at their arguments, too."""
_DECOMPOSED = frozenset({"native_dropout"})
_LEFT_OUT = {"mkldnn_rnn_layer": "PyTorch's LSTM on the CPU is one function whose backward pass cannot be recorded"}
MOST_OPERATIONS = 5000
"""Operations of a step; the compiler takes about a second for ten of them."""
_PLAIN = bool | int | float | str | None
_OF_TORCH = (frozenset(vars(nn.Module())) - {"_buffers"}) | {"_flat_weights", "_flat_weight_refs"}
"""Attributes that torch itself keeps in a module."""
_NUMBERS_OUT = frozenset({Tensor.tolist, Tensor.numpy, Tensor.__array__})
"""What hands numbers to Python without a tensor operation."""


def draws_apart(function: Any, args: tuple[Any, ...], kwargs: Any) -> bool:
    """Whether a function draws noise that can be drawn before the pass: it depends on the shapes of tensors alone."""
    name = function._schema.name.partition("::")[2]
    if name not in _DRAWS or kwargs.get("generator") is not None:
        return False
    parameters = args[1:] if name in FILLS or name.endswith("_like") else args
    return not any(isinstance(each, Tensor | torch.fx.Node) for each in (*parameters, *kwargs.values()))


def is_drawn(function: Any, args: tuple[Any, ...], kwargs: Any) -> bool:
    """Whether a function draws noise; an attention without dropout does not, though it could."""
    if not isinstance(function, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded not in function.tags:
        return False
    given = dict(zip((argument.name for argument in function._schema.arguments), args, strict=False)) | kwargs
    rates = [argument for argument in function._schema.arguments if argument.name in ("dropout_p", "dropout")]
    return not rates or bool(given.get(rates[0].name, rates[0].default_value))


class RepeatableOnly(TorchDispatchMode):
    """Refuses what a graph would freeze: shapes and branches that depend on numbers, and noise that depends on them.

    It refuses steps of too many operations too, such as those of a recurrent layer, one after another for all positions.
    """

    def __init__(self) -> None:
        super().__init__()
        self._operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.partition("::")[2]
        self._operations += 1
        if self._operations > MOST_OPERATIONS:
            raise NotRepeatableError(f"the step has more than {MOST_OPERATIONS} operations, too many for the compiler")
        if name in _LEFT_OUT:
            raise NotRepeatableError(_LEFT_OUT[name])
        if is_drawn(func, args, kwargs) and name not in _DECOMPOSED and not draws_apart(func, args, kwargs):
            raise NotRepeatableError(f"{name} draws noise that depends on computed numbers, or from a generator of its own")
        by_numbers = torch.Tag.dynamic_output_shape in func.tags
        if name == "index":
            by_numbers = any(each is not None and each.dtype in (torch.bool, torch.uint8) for each in args[1])
        if by_numbers or torch.Tag.data_dependent_output in func.tags:
            raise NotRepeatableError(f"{name} makes the computation depend on the numbers in the batch")
        return func(*args, **kwargs)


class NumbersStay(TorchFunctionMode):
    """Refuses to hand the numbers of a tensor to Python code in ways that :class:`RepeatableOnly` does not see."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func in _NUMBERS_OUT:
            raise NotRepeatableError(f"{func.__name__} makes the computation depend on the numbers in the batch")
        return func(*args, **(kwargs or {}))


class NotRepeatableError(RuntimeError):
    """An operation that a graph would freeze."""


@contextmanager
def checked_recording(parts: Mapping[str, object]) -> Iterator[None]:
    """Check that a forward and backward pass inside can be recorded, and restore the attributes of modules that it changes.

    Args:
        parts: what runs, by the prefix of its attributes in messages; the network has the empty one. What is no module is left
            out.

    Raises:
        InputError: it cannot; the message names the layer, if it is one.
    """
    modules = {prefix: part for prefix, part in parts.items() if isinstance(part, nn.Module)}
    before = [
        (f"{prefix}.{path}".strip("."), module, _noted(module), dict(vars(module)))
        for prefix, part in modules.items()
        for path, module in part.named_modules()
    ]
    noise = _python_noise()
    try:
        yield
    except Exception as error:  # whatever a network of others raises where it is recorded
        raise _refused(f"{_layer_of(error.__traceback__, modules[''])} cannot be compiled: {one_line(error)[:300]}") from error
    finally:
        changed = [f"{path}.{name}".lstrip(".") for path, module, noted, _ in before for name in _changed(module, noted)]
        for _, module, _, attributes in before:
            vars(module).update(attributes)
    if changed:
        raise _refused(f"the forward pass changes the attribute {changed[0]!r}, which compiled code would not do")
    if noise != _python_noise():
        raise _refused("the forward pass draws from a generator of Python or NumPy, whose numbers compiled code would repeat")


def _refused(what: str) -> InputError:
    return InputError(f"compile=True: {what}. Train with compile=False", name="compile", value=True, allowed="False")


def _noted(module: nn.Module) -> dict[str, Any]:
    """What an attribute of a module is: its value, or the identities of the object and its items."""
    noted: dict[str, Any] = {}
    for name, value in vars(module).items():
        if name == "_buffers":
            noted |= {buffer: id(tensor) for buffer, tensor in value.items()}
        elif name not in _OF_TORCH:
            items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
            noted[name] = value if isinstance(value, _PLAIN) else (id(value), [id(item) for item in items])
    return noted


def _changed(module: nn.Module, noted: dict[str, Any]) -> list[str]:
    now = _noted(module)
    return [name for name in noted.keys() | now.keys() if name not in noted or name not in now or now[name] != noted[name]]


def _python_noise() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002  what networks may draw from
    return random.getstate(), kind, bytes(np.asarray(keys)), rest


def _layer_of(traceback: TracebackType | None, net: nn.Module) -> str:
    """Return the innermost layer of a network, or of its copy for one pass, that was running."""
    names, found = {type(net): {id(module): path for path, module in net.named_modules()}}, "the network"
    while traceback is not None:
        module = traceback.tb_frame.f_locals.get("self")
        if isinstance(module, nn.Module):
            if type(module) is type(net):
                names[type(net)] |= {id(each): path for path, each in module.named_modules()}
            path = names[type(net)].get(id(module))
            found = f"the layer {path!r} ({type(module).__name__})" if path else found
        traceback = traceback.tb_next
    return found
