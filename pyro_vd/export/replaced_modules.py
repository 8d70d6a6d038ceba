"""The modules that compaction puts in the place of others: what a file must know of them, and how a given network gets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from pyro_vd.compaction.module_plans import AttentionPlan, EmbeddingPlan, NormPlan
from pyro_vd.networks.attention import Attention
from pyro_vd.networks.partial_norms import PartialNorm
from pyro_vd.networks.remapped import RemappedEmbedding


@dataclass(frozen=True)
class Replacement:
    """A kind of module that takes the place of another one.

    Attributes:
        kind: the class.
        numbers: what a file must know of such a module beside the shapes of its tensors, for JSON.
        restore: puts such a module into a network, given its path, the shapes of the file's tensors and the numbers. These come
            from the file and are not trusted; errors of any kind stand for a file that does not fit.
    """

    kind: type[nn.Module]
    numbers: Callable[[Any], list[Any]]
    restore: Callable[..., None]


def _narrow(net: nn.Module, path: str, _: Mapping[str, Any], heads: int, width: int, value_width: int) -> None:
    """Put a narrower attention in the place of one of PyTorch."""
    attention = net.get_submodule(path)
    if isinstance(attention, Attention):  # as narrow as that of the file already, or its tensors do not fit
        return
    most = cast(Any, attention).num_heads, cast(Any, attention).head_dim, cast(Any, attention).head_dim
    if not all(type(n) is int and 0 < n <= largest for n, largest in zip((heads, width, value_width), most, strict=True)):
        raise ValueError(f"{path} cannot have been given {heads} heads of the widths {width} and {value_width}")
    AttentionPlan(path, heads, width, value_width).carry_out(net)


def _share_rows(net: nn.Module, path: str, shapes: Mapping[str, tuple[int, ...]], padding_row: int | None) -> None:
    """Let the ids of an embedding share as many rows as its weight has in the file."""
    embedding, count = net.get_submodule(path), shapes[f"{path}.weight"][0]
    if not isinstance(embedding, RemappedEmbedding):
        rows = torch.arange(len(cast(Tensor, embedding.weight))).clamp(max=count - 1)
        EmbeddingPlan(path, tuple(rows.tolist())).carry_out(net)
        embedding = cast(RemappedEmbedding, net.get_submodule(path))
    has_padding = embedding.padding_idx is not None
    if not (type(padding_row) is int and 0 <= padding_row < count if has_padding else padding_row is None):
        raise ValueError(f"the padding of {path}, {embedding.padding_idx}, cannot have the row {padding_row} of {count}")
    embedding.padding_row = padding_row


def _let_norm_remember(net: nn.Module, path: str, _: Mapping[str, Any], removed: int, dim: int, eps: float | None) -> None:
    """Let a normalisation remember as many removed units as that of the file does."""
    norm: Any = net.get_submodule(path)
    before = norm.num_removed if isinstance(norm, PartialNorm) else 0
    if removed == before:
        return
    units = norm.normalized_shape[0] if hasattr(norm, "normalized_shape") else len(norm.weight)
    if not (type(removed) is int and type(dim) is int and before < removed < units):
        raise ValueError(f"{path} cannot have lost {removed} units along dimension {dim}")
    NormPlan(path, (0.0,) * (removed - before), dim, eps).carry_out(net)


REPLACEMENTS: dict[str, Replacement] = {
    "attention": Replacement(Attention, lambda found: [found.num_heads, found.head_dim, found.value_dim], _narrow),
    "embeddings": Replacement(RemappedEmbedding, lambda found: [found.padding_row], _share_rows),
    "norms": Replacement(PartialNorm, lambda found: [found.num_removed, found.dim, found.eps], _let_norm_remember),
}
"""By the name of their entry in the sizes of a file."""


def replaced_modules(net: nn.Module) -> dict[str, dict[str, list[Any]]]:
    """By name of the kind and path, the numbers of the modules of a network that took the place of others, for JSON."""
    modules = list(net.named_modules())
    return {
        name: {path: found.numbers(module) for path, module in modules if isinstance(module, found.kind)}
        for name, found in REPLACEMENTS.items()
    }


def replace_modules(net: nn.Module, sizes: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Put the modules that :func:`replaced_modules` has described into a network; they get the file's tensors later.

    Args:
        net: the network, which is changed.
        sizes: of the file, with one entry per kind; they are not trusted.
        shapes: of the file's tensors.
    """
    for name, found in REPLACEMENTS.items():
        for path, numbers in sizes.get(name, {}).items():
            found.restore(net, path, shapes, *numbers)
