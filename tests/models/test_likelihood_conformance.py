"""Conformance of every likelihood of the library."""

from __future__ import annotations

from pyro_vd.models import (
    Bernoulli,
    Categorical,
    HeteroscedasticNormal,
    Likelihood,
    MixtureOfNormals,
    NegativeBinomial,
    Normal,
    OrderedLogistic,
    Poisson,
    StudentT,
)
from pyro_vd.testing import LikelihoodConformance


class TestCategorical(LikelihoodConformance):
    outputs = 3
    wrong = (-1.0, 3.0)

    def make(self) -> Likelihood:
        return Categorical()


class TestCategoricalOfTokens(LikelihoodConformance):
    outputs = (5, 3)
    wrong = (-1.0, 3.0)

    def make(self) -> Likelihood:
        return Categorical(ignore_index=-100)


class TestCategoricalOfPixels(LikelihoodConformance):
    outputs = (3, 2, 4)
    wrong = (-1.0, 3.0)

    def make(self) -> Likelihood:
        return Categorical(dim=1)


class TestOrderedLogistic(LikelihoodConformance):
    wrong = (-1.0, 4.0)

    def make(self) -> Likelihood:
        return OrderedLogistic(4)


class TestOrderedLogisticOfSeveralLabels(LikelihoodConformance):
    outputs = 2
    wrong = (-1.0, 3.0)

    def make(self) -> Likelihood:
        return OrderedLogistic(cutpoints=[-1.0, 0.5])


class TestNormal(LikelihoodConformance):
    def make(self) -> Likelihood:
        return Normal(scale=0.7)


class TestNormalOfSeveralNumbers(TestNormal):
    outputs = 3


class TestNormalOfALearntScale(LikelihoodConformance):
    def make(self) -> Likelihood:
        return Normal(initial_scale=2.0)


class TestHeteroscedasticNormal(LikelihoodConformance):
    outputs = 2

    def make(self) -> Likelihood:
        return HeteroscedasticNormal()


class TestHeteroscedasticNormalOfSeveralNumbers(TestHeteroscedasticNormal):
    outputs = (2, 4)


class TestStudentT(LikelihoodConformance):
    def make(self) -> Likelihood:
        return StudentT(df=9.0, scale=0.7)


class TestStudentTOfSeveralNumbersThatIsLearnt(LikelihoodConformance):
    outputs = 3

    def make(self) -> Likelihood:
        return StudentT(initial_df=9.0, initial_scale=1.5)


class TestMixtureOfNormals(LikelihoodConformance):
    outputs = 6

    def make(self) -> Likelihood:
        return MixtureOfNormals(2)


class TestMixtureOfNormalsOfSeveralNumbers(TestMixtureOfNormals):
    outputs = (3, 6)


class TestPoisson(LikelihoodConformance):
    wrong = (-1.0, 0.5)

    def make(self) -> Likelihood:
        return Poisson()


class TestPoissonOfSeveralCounts(TestPoisson):
    outputs = 3


class TestNegativeBinomial(LikelihoodConformance):
    wrong = (-1.0, 0.5)

    def make(self) -> Likelihood:
        return NegativeBinomial(initial_dispersion=0.4)


class TestNegativeBinomialOfSeveralCounts(LikelihoodConformance):
    outputs = 3
    wrong = (-1.0, 0.5)

    def make(self) -> Likelihood:
        return NegativeBinomial(dispersion=0.4)


class TestBernoulli(LikelihoodConformance):
    wrong = (-1.0, 0.5, 2.0)

    def make(self) -> Likelihood:
        return Bernoulli()


class TestBernoulliOfSeveralLabels(TestBernoulli):
    outputs = 3
