"""Guides: approximate posteriors over the weights of a model."""

from pyro_vd.guides.alpha import log_alpha
from pyro_vd.guides.bernoulli_dropout import BernoulliDropout
from pyro_vd.guides.gaussian_dropout import GaussianDropout
from pyro_vd.guides.group_variational_dropout import GroupVariationalDropout
from pyro_vd.guides.log_normal_dropout import LogNormalDropout
from pyro_vd.guides.point_estimate import PointEstimate
from pyro_vd.guides.variational_dropout import VariationalDropout
from pyro_vd.guides.weight_guide import WeightGuide

__all__ = [
    "BernoulliDropout",
    "GaussianDropout",
    "GroupVariationalDropout",
    "LogNormalDropout",
    "PointEstimate",
    "VariationalDropout",
    "WeightGuide",
    "log_alpha",
]
