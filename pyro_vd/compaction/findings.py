"""What the rules note about the operations of a network, by label of unit: layers, attentions, look-ups, normalisations."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from pyro_vd.compaction.labels import Sources


@dataclass(frozen=True)
class Held:
    """Units that stay because an operation needs all of them; ``constant`` are those that could go but for it."""

    node: fx.Node | None
    labels: Tensor
    constant: Tensor


@dataclass
class Product:
    """An operation that multiplies units by a weight and sums: a layer.

    Attributes:
        node: the operation.
        inputs: ``(inputs,)``, the labels of the units that it reads.
        outputs: ``(outputs,)``, the labels of the units that it makes.
        into: the places of the weight that the inputs stand for.
        out_of: the places of weight and bias that the outputs stand for.
        folded: mask of the constant inputs whose contribution is in ``added``.
        added: ``(outputs,)``, what the folded inputs contribute.
        bias: the name of the bias to which it is added; None if there is none and none can be made.
        needed: mask of the outputs that are read.
    """

    node: fx.Node
    inputs: Tensor
    outputs: Tensor
    into: Sources = field(default_factory=dict)
    out_of: Sources = field(default_factory=dict)
    folded: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))
    added: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    bias: str | None = None
    needed: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.bool))


@dataclass(frozen=True)
class Table:
    """A look-up of rows in a table.

    Attributes:
        node: the operation.
        name: of the parameter or buffer.
        columns: ``(columns,)``, the labels of the units that it makes.
    """

    node: fx.Node
    name: str
    columns: Tensor


@dataclass(frozen=True)
class Norm:
    """The units of a layer or RMS normalisation from which constant units can be removed.

    Attributes:
        path: of the module.
        labels: ``(units,)``, those that it reads.
        numbers: ``(units,)``, the values of those that are constant, NaN for the others.
        dim: the dimension of the units in the module's input.
        eps: the number added to the mean square, in RMS normalisation that is no module of PyTorch; else None.
    """

    path: str
    labels: Tensor
    numbers: Tensor
    dim: int = -1
    eps: float | None = None


@dataclass(frozen=True)
class Parts:
    """The units of a convolution with groups, by label.

    Attributes:
        node: the convolution.
        inputs: ``(groups, width)``.
        outputs: ``(groups, width)``.
    """

    node: fx.Node
    inputs: Tensor
    outputs: Tensor


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
