"""Conformance of every guide of the library, in its variants."""

from __future__ import annotations

from pyro_vd.distributions import NormalARD, NormalJeffreys
from pyro_vd.guides import (
    BernoulliDropout,
    GaussianDropout,
    GroupVariationalDropout,
    LogNormalDropout,
    PointEstimate,
    VariationalDropout,
    WeightGuide,
)
from pyro_vd.models import BayesianNetwork
from pyro_vd.testing import GuideConformance


class TestVariationalDropout(GuideConformance):
    def make(self, model: BayesianNetwork) -> WeightGuide:
        return VariationalDropout(model, log_sigma2=-3)


class TestVariationalDropoutUnderNormalARD(TestVariationalDropout):
    prior = NormalARD


class TestOneAlphaPerRow(GuideConformance):
    def make(self, model: BayesianNetwork) -> WeightGuide:
        return VariationalDropout(model, log_sigma2=-3, alpha_sharing="row")


class TestOneAlphaPerColumn(GuideConformance):
    def make(self, model: BayesianNetwork) -> WeightGuide:
        return VariationalDropout(model, log_sigma2=-3, alpha_sharing="column")


class TestOneAlphaPerLayer(GuideConformance):
    def make(self, model: BayesianNetwork) -> WeightGuide:
        return VariationalDropout(model, log_sigma2=-3, alpha_sharing="layer")


class TestGroupVariationalDropout(GuideConformance):
    prior = NormalJeffreys

    def make(self, model: BayesianNetwork) -> WeightGuide:
        return GroupVariationalDropout(model, log_sigma2=-3)


class TestGroupVariationalDropoutOfUnitsAlone(TestGroupVariationalDropout):
    def make(self, model: BayesianNetwork) -> WeightGuide:
        return GroupVariationalDropout(model, log_sigma2=-3, weight_noise=False)


class TestLogNormalDropout(GuideConformance):
    def make(self, model: BayesianNetwork) -> WeightGuide:
        return LogNormalDropout(model, log_sigma2=-3)


class TestLogNormalDropoutWithWeightNoise(GuideConformance):
    def make(self, model: BayesianNetwork) -> WeightGuide:
        return LogNormalDropout(model, log_sigma2=-3, weight_noise=True)


class TestGaussianDropout(GuideConformance):
    def make(self, model: BayesianNetwork) -> WeightGuide:
        return GaussianDropout(model, p=0.2)


class TestGaussianDropoutOfUnits(GuideConformance):
    def make(self, model: BayesianNetwork) -> WeightGuide:
        return GaussianDropout(model, p=0.2, noise_on="unit")


class TestBernoulliDropout(GuideConformance):
    def make(self, model: BayesianNetwork) -> WeightGuide:
        return BernoulliDropout(model, p=0.2)


class TestPointEstimate(GuideConformance):
    def make(self, model: BayesianNetwork) -> WeightGuide:
        return PointEstimate(model)
