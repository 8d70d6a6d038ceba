"""The network at the posterior mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from pyro_vd.guides.checks import check_guide

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide


@torch.no_grad()
def posterior_mean(guide: WeightGuide) -> nn.Module:
    """Return the network at the posterior mean, as an ordinary module without Pyro; no weight is pruned.

    Args:
        guide: a guide over weights.

    Raises:
        InputError: ``guide`` is not a guide over weights.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from pyro_vd import BayesianNetwork, VariationalDropout, posterior_mean
        >>> net = nn.Linear(4, 3)
        >>> guide = VariationalDropout(BayesianNetwork(net))  # θ starts at the weights of the network
        >>> torch.equal(posterior_mean(guide).weight, net.weight)
        True
    """
    check_guide(guide)
    return guide.model.to_module({name: guide.mean(name) for name in guide.site_names})
