"""Parameters that a network has in several places: a file holds each once."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def tied_names(net: nn.Module) -> dict[str, str]:
    """The other names of parameters that have several, each with the first name of that parameter."""
    first: dict[int, str] = {}
    names = ((name, first.setdefault(id(p), name)) for name, p in net.named_parameters(remove_duplicate=False))
    return {name: original for name, original in names if name != original}


def once(net: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of a network without the other names of its parameters."""
    tied = tied_names(net)
    return {name: tensor for name, tensor in state.items() if tied.get(name) not in state}


def everywhere(tied: Mapping[str, str], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors with those under the other names in ``tied`` added where they are missing."""
    added = {name: tensors[first] for name, first in tied.items() if first in tensors}
    return {**added, **tensors}
