"""The units of attentions: queries with keys, values, and the scores, which have one unit per head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, fx

if TYPE_CHECKING:
    from pyro_vd.compaction.analysis import Product


@dataclass(frozen=True)
class Scale:
    """Scores that are divided by a power of the width of their heads.

    Attributes:
        layer: the layer that makes queries, or keys.
        outputs: ``(outputs,)``, mask of those outputs of the layer.
        power: the power of the width.
    """

    layer: Product
    outputs: Tensor
    power: float


@dataclass(frozen=True)
class Scores:
    """The scores of queries and keys, by label.

    Attributes:
        node: the operation that makes them.
        heads: ``(heads,)``, the units of the scores: one per head.
        query: ``(heads, width)``, the units that are summed over, of query and key.
    """

    node: fx.Node
    heads: Tensor
    query: Tensor


@dataclass(frozen=True)
class Heads:
    """The units of an attention, by label.

    Attributes:
        node: the operation that makes the scores.
        scores: ``(heads,)``, the units of the scores: one per head.
        query: ``(heads, width)``, united with those of the key.
        value: ``(heads, width)``.
        replaced: the path of the ``nn.MultiheadAttention`` that it is part of; None if it is none.
        scale: what must be scaled if the width of the query changes; None if nothing must, as where the scale is given.
    """

    node: fx.Node
    scores: Tensor
    query: Tensor
    value: Tensor
    replaced: str | None = None
    scale: Scale | None = None
