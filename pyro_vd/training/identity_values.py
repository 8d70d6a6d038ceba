"""A value as text that is equal in every process for what acts alike: numbers, containers, functions, modules, objects."""

from __future__ import annotations

import functools
import hashlib
import types
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.distributions.utils import lazy_property

from pyro_vd.training.identity_code import code_text, is_installed, module_prefix, name_of, names_in

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), torch.dtype, torch.device, torch.layout, range, slice)
_MODULE = frozenset(vars(nn.Module()))
_DISTRIBUTION = frozenset({"_batch_shape", "_event_shape", "_validate_args"})


class UnknownError(Exception):
    """A value has no identity but its address; the message names its kind."""


class ValueWriter:
    """Writes a value as text. A value that occurs again inside is written as the number of its first occurrence."""

    def __init__(self, learnt: bool) -> None:
        self._learnt = learnt
        self._met: dict[int, tuple[int, object]] = {}  # keeps the values alive: an address must not be reused

    def of(self, value: Any) -> str:
        if isinstance(value, _PLAIN):
            return repr(value)
        if isinstance(value, type):
            if id(value) in self._met:
                return name_of(value)
            self._met[id(value)] = len(self._met), value
            return f"{name_of(value)}{self._methods(value)}"
        if isinstance(value, types.ModuleType):
            return value.__name__
        if isinstance(value, Enum):
            return f"{name_of(type(value))}.{value.name}"
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
            return f"{module_prefix(value.__module__)}{value.__qualname__}" if is_free else f"{self.of(owner)}.{value.__name__}"
        if isinstance(value, np.ufunc | types.MethodDescriptorType | types.WrapperDescriptorType):
            return f"{type(value).__name__} {getattr(value, '__qualname__', value.__name__)}"
        if isinstance(value, functools.partial):
            arguments = [self.of(item) for item in value.args] + [f"{k}={self.of(v)}" for k, v in value.keywords.items()]
            return f"partial({', '.join([self.of(value.func), *arguments])})"
        return self._object(value)

    def _mapping(self, value: Mapping[Any, Any]) -> str:
        return f"{{{', '.join(f'{self.of(key)}: {self.of(item)}' for key, item in value.items())}}}"

    def _function(self, function: types.FunctionType) -> str:
        return f"{module_prefix(function.__module__)}{function.__qualname__}{self._code_of(function)}"

    def _code_of(self, function: Any) -> str:
        """What a user's function does: a digest of its code, and the values that it uses besides its arguments."""
        if not isinstance(function, types.FunctionType) or is_installed(function.__module__):
            return ""
        used = {"default": function.__defaults__, "keyword": function.__kwdefaults__}
        parts = [f"{key} {self.of(value)}" for key, value in used.items() if value]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                parts.append(f"{name}={self.of(cell.cell_contents)}")
            except ValueError:  # not yet bound
                parts.append(f"{name} unbound")
        for name in sorted(names_in(function.__code__) & function.__globals__.keys()):
            parts.append(f"{name}={self._global(function.__globals__[name])}")
        digest = hashlib.sha256(code_text(function.__code__).encode()).hexdigest()[:12]
        return f"<{', '.join([digest, *parts])}>"

    def _global(self, value: Any) -> str:
        """A value of the function's module. Only the class of a value without an identity, such as a logger, counts."""
        try:
            return self.of(value)
        except UnknownError:
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
            return f"{name_of(kind)}{self._methods(kind)}({self._stored(value)})"
        return f"{name_of(kind)}{self._methods(kind)}({', '.join(f'{key}={self.of(item)}' for key, item in fields.items())})"

    def _stored(self, value: Any) -> str:
        """What pickle would store of an object."""
        try:
            reduced = value.__reduce_ex__(2)
        except Exception as error:  # pickling asks the object, which may raise anything
            raise UnknownError(f"a {type(value).__name__}") from error
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
        """What the methods of a user's class do. Methods that ``dataclass`` has generated are left out."""
        owners = [owner for owner in kind.__mro__ if not is_installed(owner.__module__)]
        members = [member for owner in owners for member in vars(owner).values()]
        functions = [getattr(member, "__func__", getattr(member, "fget", member)) for member in members]
        # torch.optim puts another function around the step of a class when its first object is made
        functions = [each.__wrapped__ if hasattr(each, "hooked") else each for each in functions]
        own = [each for each in functions if isinstance(each, types.FunctionType) and each.__code__.co_filename != "<string>"]
        made = "".join(f"{each.__name__}{self._code_of(each)}" for each in own)
        settings = [(key, value) for owner in owners for key, value in vars(owner).items()]
        made += "".join(f"{key}={value!r}" for key, value in settings if isinstance(value, _PLAIN) and key[:2] != "__")
        return f"<{hashlib.sha256(made.encode()).hexdigest()[:12]}>" if made else ""


def _tensor(value: Any) -> str:
    """A tensor or array as type, shape and a digest of its values; one number as itself."""
    if isinstance(value, Tensor):
        if value.is_meta or value.layout is not torch.strided or value.is_quantized or value.is_nested:
            raise UnknownError(f"a tensor on {value.device} of layout {value.layout}")
        plain = value.detach().cpu()
        if plain.ndim == 0 or (plain.numel() and bool((plain == plain.flatten()[0]).all())):  # one number, or filled with one
            return f"{plain.flatten()[0].item()!r}{'' if plain.ndim == 0 else f' of {tuple(plain.shape)}'}"
        content = plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    else:
        if value.dtype.hasobject:
            raise UnknownError("an array of objects")
        if value.ndim == 0:
            return repr(value.item())
        content = np.ascontiguousarray(value).tobytes()
    return f"{value.dtype} {tuple(value.shape)} {hashlib.sha256(content).hexdigest()[:16]}"
