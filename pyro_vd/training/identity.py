"""What tells one function, module or distribution from another, in this process and in the next: never an address."""

from __future__ import annotations

import dis
import functools
import hashlib
import operator
import sys
import sysconfig
import types
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions.utils import lazy_property

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd.evaluation.observations import base_distribution

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide
    from pyro_vd.models.bayesian import BayesianNetwork

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), torch.dtype, torch.device, torch.layout, range, slice)
_LONGEST = 300
_MODULE = frozenset(vars(nn.Module()))
_DISTRIBUTION = frozenset({"_batch_shape", "_event_shape", "_validate_args"})
_INSTALLED = tuple({sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")})


def identity(name: str, value: object, *, learnt: bool = False) -> str:
    """A text that is equal in every process for what acts alike, and another for what does not, where that can be known.

    Functions go by their qualified name, their code, defaults and what they enclose or use of their module; objects by their
    class and what pickle would store, modules by their tensors as well, all the way down. What is installed goes by name.

    Args:
        name: what it is called in an error.
        value: a function, module, distribution or any object of plain values.
        learnt: whether the parameters of modules are learnt, and say nothing of what they are.

    Raises:
        InputError: something in it has no identity but its place in memory, such as a lock, an open file or a generator.
    """
    try:
        text = _Writer(learnt).of(value)
    except _UnknownError as error:
        raise InputError(
            f"{name} (={quoted(value)}): a checkpoint must tell it from another in a new process, which {error} in it does not "
            "allow; make it a function, or an object of which every field is a number, text, a tensor or such an object"
        ) from error
    return text if len(text) <= _LONGEST else f"{text[:200]}… {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def pair_identity(model: BayesianNetwork, guide: WeightGuide) -> dict[str, Any]:
    """What a model and its guide are, without what they have learnt: the guide's kind and settings, priors, likelihood.

    Raises:
        InputError: as :func:`identity`.
    """
    kind = type(guide)
    priors = {identity("prior", base_distribution(model.prior(name))) for name in model.weight_names}
    return {
        "guide": f"{identity('guide', kind)}({guide.extra_repr()})",
        "priors": sorted(priors),
        "likelihood": identity("likelihood", model.likelihood, learnt=True),
    }


class _UnknownError(Exception):
    """The message says what has no identity."""


class _Writer:
    """Writes a value as text; one that is met again on the way down by the number of the place where it was first."""

    def __init__(self, learnt: bool) -> None:
        self._learnt = learnt
        self._met: dict[int, tuple[int, object]] = {}  # keeps what it has met: addresses must not be used again

    def of(self, value: Any) -> str:
        if isinstance(value, _PLAIN):
            return repr(value)
        if isinstance(value, type):
            if id(value) in self._met:
                return _name_of(value)
            self._met[id(value)] = len(self._met), value
            return f"{_name_of(value)}{self._methods(value)}"
        if isinstance(value, types.ModuleType):
            return value.__name__
        if isinstance(value, Enum):
            return f"{_name_of(type(value))}.{value.name}"
        if id(value) in self._met:
            return f"#{self._met[id(value)][0]}"
        self._met[id(value)] = len(self._met), value
        return self._part(value)

    def _part(self, value: Any) -> str:
        if isinstance(value, Tensor | np.ndarray | np.generic):
            return _tensor(value)
        if isinstance(value, list | tuple | set | frozenset) and type(value) in (list, tuple, set, frozenset, torch.Size):
            parts = [self.of(item) for item in value]
            return f"{type(value).__name__}({', '.join(sorted(parts) if isinstance(value, set | frozenset) else parts)})"
        if type(value) in (dict, types.MappingProxyType):
            return self._mapping(value)
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if isinstance(value, types.MethodType):
            return f"{self.of(value.__self__)}.{value.__name__}{self._code_of(value.__func__)}"
        if isinstance(value, types.BuiltinFunctionType):
            owner = value.__self__
            is_free = owner is None or isinstance(owner, type | types.ModuleType)
            return f"{_prefix(value.__module__)}{value.__qualname__}" if is_free else f"{self.of(owner)}.{value.__name__}"
        if isinstance(value, np.ufunc | types.MethodDescriptorType | types.WrapperDescriptorType):
            return f"{type(value).__name__} {getattr(value, '__qualname__', value.__name__)}"
        if isinstance(value, functools.partial):
            arguments = [self.of(item) for item in value.args] + [f"{k}={self.of(v)}" for k, v in value.keywords.items()]
            return f"partial({', '.join([self.of(value.func), *arguments])})"
        return self._object(value)

    def _mapping(self, value: Mapping[Any, Any]) -> str:
        return f"{{{', '.join(f'{self.of(key)}: {self.of(item)}' for key, item in value.items())}}}"

    def _function(self, function: types.FunctionType) -> str:
        return f"{_prefix(function.__module__)}{function.__qualname__}{self._code_of(function)}"

    def _code_of(self, function: Any) -> str:
        """What a function of one's own does: digest of its code, and the values that it uses beside its arguments."""
        if not isinstance(function, types.FunctionType) or _is_installed(function.__module__):
            return ""
        used = {"default": function.__defaults__, "keyword": function.__kwdefaults__}
        parts = [f"{key} {self.of(value)}" for key, value in used.items() if value]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                parts.append(f"{name}={self.of(cell.cell_contents)}")
            except ValueError:  # not yet bound
                parts.append(f"{name} unbound")
        for name in sorted(_names_in(function.__code__) & function.__globals__.keys()):
            parts.append(f"{name}={self._global(function.__globals__[name])}")
        digest = hashlib.sha256(_code(function.__code__).encode()).hexdigest()[:12]
        return f"<{', '.join([digest, *parts])}>"

    def _global(self, value: Any) -> str:
        """Of what a function's module holds, such as a logger, nothing more than the class need be known."""
        try:
            return self.of(value)
        except _UnknownError:
            return type(value).__name__

    def _object(self, value: Any) -> str:
        kind = type(value)
        if isinstance(value, nn.Module):
            fields = {key: item for key, item in vars(value).items() if key not in _MODULE and not key.startswith("__")}
            own = {**({} if self._learnt else value._parameters), **value._buffers, **value._modules}
            mode = {} if self._learnt else {"training": value.training}  # training sets it where it trains the module
            fields |= {**mode, **{key: item for key, item in own.items() if item is not None}}
        elif isinstance(value, Distribution):
            lazy = {key for key in vars(value) if isinstance(getattr(kind, key, None), lazy_property | property)}
            fields = {key: item for key, item in vars(value).items() if key not in _DISTRIBUTION | lazy}
        else:
            return f"{_name_of(kind)}{self._methods(kind)}({self._stored(value)})"
        return f"{_name_of(kind)}{self._methods(kind)}({', '.join(f'{key}={self.of(item)}' for key, item in fields.items())})"

    def _stored(self, value: Any) -> str:
        """What pickle would store of an object."""
        try:
            reduced = value.__reduce_ex__(2)
        except Exception as error:  # pickling asks the object, which may raise anything
            raise _UnknownError(f"a {type(value).__name__}") from error
        if isinstance(reduced, str):
            return reduced
        _, arguments, state, items, pairs = (*reduced, None, None, None)[:5]
        if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):  # of slots
            state = {**(state[0] or {}), **state[1]}
        made = [argument for argument in arguments if argument is not type(value)]
        parts = [self.of(argument) for argument in made]
        parts += (
            [f"{k}={self.of(v)}" for k, v in state.items()] if isinstance(state, dict) else [self.of(state)] if state else []
        )
        parts += [self.of(item) for item in items or ()] + [f"{self.of(k)}: {self.of(v)}" for k, v in pairs or ()]
        return ", ".join(parts)

    def _methods(self, kind: type) -> str:
        """What the methods of a class of one's own do; those that ``dataclass`` has made say nothing."""
        owners = [owner for owner in kind.__mro__ if not _is_installed(owner.__module__)]
        members = [member for owner in owners for member in vars(owner).values()]
        functions = [getattr(member, "__func__", getattr(member, "fget", member)) for member in members]
        own = [each for each in functions if isinstance(each, types.FunctionType) and each.__code__.co_filename != "<string>"]
        made = "".join(f"{each.__name__}{self._code_of(each)}" for each in own)
        settings = [(key, value) for owner in owners for key, value in vars(owner).items()]
        made += "".join(f"{key}={value!r}" for key, value in settings if isinstance(value, _PLAIN) and key[:2] != "__")
        return f"<{hashlib.sha256(made.encode()).hexdigest()[:12]}>" if made else ""


def _tensor(value: Any) -> str:
    """A tensor or array by type, shape and a digest of its values; a number by itself."""
    if isinstance(value, Tensor):
        if value.is_meta or value.layout is not torch.strided or value.is_quantized or value.is_nested:
            raise _UnknownError(f"a tensor on {value.device} of layout {value.layout}")
        plain = value.detach().cpu()
        if plain.ndim == 0 or (plain.numel() and bool((plain == plain.flatten()[0]).all())):  # one number, or of one number
            return f"{plain.flatten()[0].item()!r}{'' if plain.ndim == 0 else f' of {tuple(plain.shape)}'}"
        content = plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    else:
        if value.dtype.hasobject:
            raise _UnknownError("an array of objects")
        if value.ndim == 0:
            return repr(value.item())
        content = np.ascontiguousarray(value).tobytes()
    return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(content).hexdigest()[:16]}"


def _code(code: types.CodeType) -> str:
    """What a function does, without where it stands."""
    constants = [_code(each) if isinstance(each, types.CodeType) else _constant(each) for each in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars
    return f"{code.co_code.hex()} {names} {code.co_argcount} {code.co_kwonlyargcount} {code.co_flags} {constants}"


def _constant(value: object) -> str:
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _names_in(code: types.CodeType) -> set[str]:
    """Names that a function, and those within it, look up outside of themselves."""
    inner = (_names_in(each) for each in code.co_consts if isinstance(each, types.CodeType))
    own = {str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return functools.reduce(operator.or_, inner, own)  # the code's ``co_names`` are those of attributes as well


def _name_of(kind: type | Callable[..., Any]) -> str:
    return f"{_prefix(kind.__module__)}{kind.__qualname__}"


def _prefix(module: str | None) -> str:
    """Of this library and Python's own nothing."""
    top = (module or "builtins").partition(".")[0]
    return "" if top in ("pyro_vd", "builtins") else f"{module}."


def _is_installed(module: str | None) -> bool:
    """Whether a module comes with Python, this library or another package."""
    if (module or "builtins").partition(".")[0] in ("pyro_vd", "builtins"):
        return True
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    if file is None:
        return module in sys.builtin_module_names
    return any(Path(file).is_relative_to(folder) for folder in _INSTALLED if folder)
