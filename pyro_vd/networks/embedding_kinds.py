"""Embeddings: tables with one row per token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import nn

from pyro_vd.networks.embedding_maps import EmbeddingBagMap, EmbeddingMap
from pyro_vd.networks.layer_kind import Axes, FixedUnitsKind
from pyro_vd.networks.linear_map import LinearMap
from pyro_vd.networks.remapped import RemappedEmbedding, RemappedEmbeddingBag


class EmbeddingKind(FixedUnitsKind):
    """``nn.Embedding``: the inputs of the weight are the tokens, of which only those that are looked up are drawn."""

    modules: tuple[type[nn.Module], ...] = (nn.Embedding,)
    is_described = True
    linear_maps: tuple[LinearMap, ...] = (
        EmbeddingMap(
            F.embedding,
            ("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse"),
            bias=None,
            input_axis=0,
        ),
    )
    sizes: tuple[str, str] = ("num_embeddings", "embedding_dim")

    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        return {"weight": ("in", "out")}

    def applications(self, layer: nn.Module, name: str, inputs: Sequence[Any], output: Any) -> int:
        return 0  # a row is copied, not multiplied

    def refusal(self, layer: Any) -> str | None:
        if layer.max_norm is not None:
            return (
                f"max_norm={layer.max_norm} changes rows of the weight in place when they are looked up, and each forward pass "
                "draws them again; set max_norm = None, as a prior keeps the rows small"
            )
        if layer.sparse:
            return "sparse=True gives sparse gradients, but the KL divergence gives every row a gradient; set sparse = False"
        return None


class EmbeddingBagKind(EmbeddingKind):
    """``nn.EmbeddingBag``: the output of a bag is drawn where it is a sum or a mean; for the maximum the table is drawn."""

    modules: tuple[type[nn.Module], ...] = (nn.EmbeddingBag,)
    linear_maps: tuple[LinearMap, ...] = (
        EmbeddingBagMap(
            F.embedding_bag,
            (
                *("input", "weight", "offsets", "max_norm", "norm_type", "scale_grad_by_freq", "mode", "sparse"),
                *("per_sample_weights", "include_last_offset", "padding_idx"),
            ),
            bias=None,
            input_axis=None,
        ),
    )


class RemappedEmbeddingKind(EmbeddingKind):
    """A :class:`~pyro_vd.networks.RemappedEmbedding`: the inputs of the weight are the rows that ids share."""

    modules: tuple[type[nn.Module], ...] = (RemappedEmbedding,)
    sizes: tuple[str, str] = ("num_rows", "embedding_dim")

    def refusal(self, layer: Any) -> str | None:
        return None


class RemappedEmbeddingBagKind(RemappedEmbeddingKind):
    """A :class:`~pyro_vd.networks.RemappedEmbeddingBag`."""

    modules: tuple[type[nn.Module], ...] = (RemappedEmbeddingBag,)
    linear_maps: tuple[LinearMap, ...] = EmbeddingBagKind.linear_maps
