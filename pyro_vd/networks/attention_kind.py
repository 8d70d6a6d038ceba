"""Multi-head attention."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vd.networks.layer_kind import Axes, FixedUnitsKind, Place
from pyro_vd.networks.linear_map import LinearMap

_SEPARATE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


class AttentionKind(FixedUnitsKind):
    """``nn.MultiheadAttention``: the projections of queries, keys and values, in one packed weight or in three.

    The projection of the output is a linear layer of its own, ``out_proj``, although ``MultiheadAttention`` does not call it.
    """

    modules: tuple[type[nn.Module], ...] = (nn.MultiheadAttention,)
    linear_maps: tuple[LinearMap, ...] = (LinearMap(F.linear),)
    sizes: tuple[str, str] = ("embed_dim", "embed_dim")

    def weights(self, layer: Any) -> dict[str, Axes]:
        names = ("in_proj_weight",) if layer._qkv_same_embed_dim else _SEPARATE
        return dict.fromkeys(names, ("out", "in"))

    def unit_places(self, layer: Any) -> dict[str, tuple[Place, Place]]:
        return {"": ((next(iter(self.weights(layer))), 1), ("out_proj.weight", 1))}  # units are those of the values

    def applications(self, layer: Any, name: str, inputs: Sequence[Any], output: Any) -> int:
        positions = [tensor.numel() // tensor.shape[-1] for tensor in inputs[:3]]
        return sum(positions) // 3 if name == "in_proj_weight" else positions[_SEPARATE.index(name)]

    def products(self, layer: Any, inputs: Sequence[Any], output: Any) -> Iterator[tuple[Tensor, int]]:
        yield from super().products(layer, inputs, output)
        yield layer.out_proj.weight, output[0].numel() // layer.embed_dim


def heads_by_layer(net: nn.Module) -> dict[nn.Module, int]:
    """The number of heads whose values a layer reads, by layer: equal parts of its inputs, one head after the other."""
    return {module.out_proj: module.num_heads for module in net.modules() if isinstance(module, nn.MultiheadAttention)}
