"""Priors and posteriors of weights and units, and the KL divergences between them."""

from pyro_vd.distributions.group_normal import GroupNormal
from pyro_vd.distributions.log_normal import LogNormalUnits, TruncatedLogNormal
from pyro_vd.distributions.priors import LogUniform, NormalARD, NormalJeffreys
from pyro_vd.distributions.unit_dropout import UnitDropout
from pyro_vd.distributions.weight_posterior import MultiplicativeNormal, SharedAlphaNormal

__all__ = [
    "GroupNormal",
    "LogNormalUnits",
    "LogUniform",
    "MultiplicativeNormal",
    "NormalARD",
    "NormalJeffreys",
    "SharedAlphaNormal",
    "TruncatedLogNormal",
    "UnitDropout",
]
