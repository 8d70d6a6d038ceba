"""Look-ups in an embedding as linear maps: only the rows that are looked up are drawn, not the whole table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_vd.networks.linear_map import LinearMap, UnitFactors


@dataclass(frozen=True)
class EmbeddingMap(LinearMap):
    """``torch.nn.functional.embedding``: the linear map of one-hot inputs, so that the output has the rows' own variances.

    Examples are in dimension 0 of the ids. The row at ``padding_idx`` has noise like any other, but no gradient, as in torch.
    """

    def variance(self, arguments: Mapping[str, Any], variance: Tensor) -> Tensor:
        return self.output(arguments, variance)

    def unit_output(self, arguments: Mapping[str, Any], weight: Tensor, factors: UnitFactors) -> Tensor:
        rows = self.output(arguments, weight)
        return rows * factors.of_inputs(arguments["input"])[..., None].to(rows.dtype)

    def example_noise(self, arguments: Mapping[str, Any], std: Tensor) -> Tensor:
        """Draw the deviation σ∘ε of each looked-up row, with one ε per row and example."""
        pairs, place = ids_by_example(arguments["input"], len(std))
        noise = torch.randn(len(pairs), std.shape[1], dtype=std.dtype, device=std.device)
        return self.output(arguments, std) * noise[place]


@dataclass(frozen=True)
class EmbeddingBagMap(LinearMap):
    """``torch.nn.functional.embedding_bag`` with sums or means: one output per bag, in which a row may occur several times."""

    def applies(self, arguments: Mapping[str, Any]) -> bool:
        return arguments.get("mode", "mean") != "max"

    def variance(self, arguments: Mapping[str, Any], variance: Tensor) -> Tensor:
        """Σ c²σ² over the different rows of a bag, where c is the sum of the factors with which a row enters it."""
        ids, bags, count = _flat(arguments)
        factors = arguments.get("per_sample_weights")
        factors = torch.ones_like(ids, dtype=variance.dtype) if factors is None else factors.flatten()
        if (padding := arguments.get("padding_idx")) is not None:
            factors = factors * (ids != padding % len(variance))
        if arguments.get("mode", "mean") == "mean":
            factors = factors / factors.new_zeros(count).index_add(0, bags, factors).clamp(min=1)[bags]
        pairs, place = torch.unique(ids + len(variance) * bags, return_inverse=True)
        sums = factors.new_zeros(len(pairs)).index_add(0, place, factors)
        rows = F.embedding(pairs % len(variance), variance) * sums.square()[:, None]
        return rows.new_zeros(count, variance.shape[1]).index_add(0, pairs // len(variance), rows)


def ids_by_example(ids: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """The different pairs of an example and an id of it, as id + example · rows, and the place of each id among them."""
    examples = torch.arange(len(ids), device=ids.device).view(-1, *(1 for _ in ids.shape[1:]))
    pairs, place = torch.unique(ids + rows * examples, return_inverse=True)
    return pairs, place


def _flat(arguments: Mapping[str, Any]) -> tuple[Tensor, Tensor, int]:
    """The ids of all bags one after the other, the bag of each, and the number of bags."""
    ids: Tensor = arguments["input"]
    if ids.ndim == 2:
        return ids.flatten(), torch.arange(len(ids), device=ids.device).repeat_interleave(ids.shape[1]), len(ids)
    starts: Tensor = arguments["offsets"][: -1 if arguments.get("include_last_offset", False) else None]
    return ids, torch.searchsorted(starts.contiguous(), torch.arange(len(ids), device=ids.device), right=True) - 1, len(starts)
