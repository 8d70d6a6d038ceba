"""Guides: approximate posteriors over the weights of a model."""

from pyro_vd.guides.point_estimate import PointEstimate
from pyro_vd.guides.variational_dropout import VariationalDropout
from pyro_vd.guides.weight_guide import WeightGuide

__all__ = ["PointEstimate", "VariationalDropout", "WeightGuide"]
