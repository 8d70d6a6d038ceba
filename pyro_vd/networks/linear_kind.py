"""Linear layers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from pyro_vd.networks.layer_kind import Axes, LayerKind
from pyro_vd.networks.linear_map import LinearMap


class LinearKind(LayerKind):
    """``nn.Linear``: all defaults of :class:`~pyro_vd.networks.LayerKind` hold."""

    modules: tuple[type[nn.Module], ...] = (nn.Linear,)
    linear_maps: tuple[LinearMap, ...] = (LinearMap(F.linear),)

    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        return {"weight": ("out", "in")}
