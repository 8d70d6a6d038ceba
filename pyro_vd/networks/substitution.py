"""A network with some of its tensors replaced, as new modules, so that code that runs them later sees the same tensors.

``torch.func.functional_call`` changes the modules in place and puts the old tensors back when the forward pass returns. Code
that runs a part of the network after that, such as activation checkpointing in the backward pass, or another thread, then sees
the old tensors. Here every forward pass has its own modules: shallow copies that share everything except the replaced tensors.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

References = Mapping[str, tuple[str, ...]]
"""By the path of a module: the attributes, other than parameters, buffers and children, that lead to a module or parameter."""

_REGISTERED = ("_parameters", "_buffers", "_modules")
_OF_THE_COPY = (*_REGISTERED, "_compiled_call_impl")
_PLAIN = bool | int | float | str | None
_NOTHING = object()


class _Visits(dict[int, Any]):
    """A memo for :func:`copy.deepcopy` that notes whether one of the objects it began with was met."""

    def __init__(self, known: Mapping[int, Any]) -> None:
        super().__init__(known)
        self._known, self.met = frozenset(known), False

    def get(self, key: int, default: Any = None) -> Any:
        self.met |= key in self._known
        return super().get(key, default)


def find_references(net: nn.Module, tensors: Iterable[Tensor]) -> References:
    """Find the attributes, not registered with PyTorch, that lead to modules of ``net`` or to some of its tensors.

    Examples are lists of modules, hooks that are bound methods, and ``self.w = [self.fc.weight]``.
    """
    known: dict[int, Any] = {id(module): module for module in net.modules()}
    known |= {id(tensor): tensor for tensor in tensors}
    found: dict[str, tuple[str, ...]] = {}
    for path, module in net.named_modules():
        names = (name for name, value in vars(module).items() if name not in _REGISTERED and not isinstance(value, _PLAIN))
        if attributes := tuple(name for name in names if _reaches(vars(module)[name], known)):
            found[path] = attributes
    return found


def _reaches(value: Any, known: Mapping[int, Any]) -> bool:
    visits = _Visits(known)
    try:
        copy.deepcopy(value, visits)
    except Exception:  # whatever a foreign class does when it is copied
        return visits.met
    return visits.met


def rewire(module: nn.Module, attributes: Collection[str], replaced: Mapping[int, Any]) -> None:
    """Replace these attributes of ``module`` by copies in which the objects with these ``id`` are replaced."""
    memo = dict(replaced)
    for name in attributes:
        vars(module)[name] = copy.deepcopy(vars(module)[name], memo)


def with_tensors(
    net: nn.Module,
    tensors: Mapping[str, Tensor],
    order: Mapping[str, list[str]],
    references: References,
    apart: bool = False,
) -> nn.Module:
    """Make new modules for ``net`` in which some tensors are replaced; they share everything else with it.

    Args:
        net: a network; it is not changed.
        tensors: by the name of a parameter or buffer.
        order: by the path of a module, the order in which the new module is to list its parameters; others follow.
        references: found by :func:`find_references`.
        apart: whether lists, dictionaries and sets that are attributes are copied too, so that changes in a forward pass do not
            reach ``net``.
    """
    copies: dict[int, nn.Module] = {}
    paths: dict[str, nn.Module] = {}
    _copy_all("", net, apart, copies, paths)
    replaced: dict[int, Any] = {}
    changed: set[str] = set()
    for name, tensor in tensors.items():
        path, _, attribute = name.rpartition(".")
        owner = paths[path]
        old = owner._buffers.get(attribute)
        replaced[id(owner._parameters.get(attribute) if old is None else old)] = tensor
        if old is not None and attribute not in order.get(path, ()):
            owner._buffers[attribute] = tensor
            continue
        owner._buffers.pop(attribute, None)
        owner._parameters[attribute] = tensor  # type: ignore[assignment]
        changed.add(path)
    for path in changed & order.keys():
        own = paths[path]._parameters
        paths[path]._parameters = {name: own[name] for name in order[path] if name in own} | own
    if references:
        everything = {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())}
        for path, attributes in references.items():
            rewire(paths[path], attributes, {**everything, **copies, **replaced})
    return paths[""]


def _copy_all(
    path: str, module: nn.Module, apart: bool, copies: dict[int, nn.Module], paths: dict[str, nn.Module]
) -> nn.Module:
    """Copy a module with this path and all modules in it, once each; ``named_modules`` would take most of the time."""
    new = copies.get(id(module))
    if new is None:
        new = copies[id(module)] = _shallow(module, apart)
    paths[path] = new
    for name, child in module._modules.items():
        if child is not None:
            new._modules[name] = _copy_all(f"{path}.{name}" if path else name, child, apart, copies, paths)
    return new


def _shallow(module: nn.Module, apart: bool) -> nn.Module:
    new = module.__class__.__new__(module.__class__)
    state = vars(module).copy()
    for name in _REGISTERED:
        state[name] = state[name].copy()
    if apart:
        state |= {name: value.copy() for name, value in state.items() if type(value) in (list, dict, set)}
    state.pop("_compiled_call_impl", None)  # compiled code would run the module that it was made for
    object.__setattr__(new, "__dict__", state)
    return new


def keep_changes(net: nn.Module, used: nn.Module, references: References) -> None:
    """Copy to ``net`` the attributes that a forward pass has set in ``used``, which :func:`with_tensors` has made of it.

    These are buffers and other attributes, such as counters, states and activations. An attribute that leads to a module of
    ``used`` is not copied.
    """
    known: dict[int, Any] = {}
    parts, of_used = _distinct(net), _distinct(used)
    for (path, module), (_, new) in zip(parts, of_used, strict=False):
        if not _has_changes(vars(module), vars(new)):
            continue
        own, left_out = vars(module), references.get(path, ())
        for name, value in vars(new).items():
            if own.get(name, _NOTHING) is value or name in _OF_THE_COPY or name in left_out:
                continue
            _check_outlives(value)
            known = known or {id(part): part for _, part in of_used}
            if isinstance(value, _PLAIN | Tensor) or not _reaches(value, known):
                own[name] = value
    for (_, module), (_, new) in zip(parts, of_used, strict=False):
        for name, buffer in new._buffers.items():
            if buffer is not module._buffers.get(name) and name not in module._parameters:
                _check_outlives(buffer)
                module._buffers[name] = None if buffer is None else buffer.detach()


def _distinct(net: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return path and module of every module of ``net``, as ``named_modules`` does in ten times the time."""
    found, seen = [("", net)], {id(net)}

    def look(path: str, module: nn.Module) -> None:
        for name, child in module._modules.items():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                found.append((inner := f"{path}.{name}" if path else name, child))
                look(inner, child)

    look("", net)
    return found


def _has_changes(own: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether attributes of a copied module differ from those of the original, other than its dictionaries."""
    if len(own) != len(now) or not all(map(operator.is_, own, now)):
        return True
    return sum(map(operator.is_not, own.values(), now.values())) != len(_REGISTERED)


def _check_outlives(value: Any) -> None:
    """Refuse a tensor that exists inside ``torch.vmap`` only, so that the caller falls back to one draw at a time."""
    if isinstance(value, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(value):
        raise RuntimeError("the network keeps a tensor from inside torch.vmap, which cannot be used outside of it")
