from .group_normal import GroupNormal
from .log_normal import LogNormalUnits, TruncatedLogNormal
from .priors import LogUniform, NormalARD, NormalJeffreys, WeightPrior
from .unit_dropout import UnitDropout
from .unit_layout import UnitLayout
from .unit_posterior import UnitPosterior
from .weight_posterior import MultiplicativeNormal, SharedAlphaNormal, WeightPosterior

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
    "UnitLayout",
    "UnitPosterior",
    "WeightPosterior",
    "WeightPrior",
]
