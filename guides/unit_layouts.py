"""Which factor multiplies which entry of every weight of a model, as far as one layer alone says it."""

from __future__ import annotations

import torch

from pyro_vd.distributions.unit_layout import UnitLayout
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.networks.attention_kind import heads_by_layer


def unit_layouts(model: BayesianNetwork) -> dict[str, UnitLayout]:
    """Return the layout of every site.

    The units of a weight are the inputs of its layer: the columns of a linear layer, of a recurrent matrix and of the
    projections into an attention, the channels of a convolution, grouped or transposed too, the rows of an embedding, the first
    input of a bilinear layer. The projection out of ``nn.MultiheadAttention`` has one unit per head. The units of a parameter
    that is not the weight of a known layer, such as a bias or a table of positions, are the indices of its last dimension.
    """
    heads = heads_by_layer(model)
    layouts = {}
    for name, weight in model.initial_weights.items():
        layer, kind, axes = model.layer(name), model.layer_kind(name), model.weight_axes(name)
        if kind is None or "in" not in axes:
            layouts[name] = UnitLayout(weight.shape[-1] if weight.ndim else 1, max(weight.ndim - 1, 0))
            continue
        axis, groups = axes.index("in"), kind.input_groups(layer)
        inputs, parts = weight.shape[axis] * groups, heads.get(layer)
        of_input = None if parts is None else torch.arange(inputs) // (inputs // parts)
        layouts[name] = UnitLayout(inputs, axis, groups, of_input, parts)
    return layouts
