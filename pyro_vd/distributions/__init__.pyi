from .group_normal import GroupNormal
from .log_normal import LogNormalUnits, TruncatedLogNormal
from .priors import LogUniform, NormalARD, NormalJeffreys
from .unit_dropout import UnitDropout
from .weight_posterior import MultiplicativeNormal, SharedAlphaNormal

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
