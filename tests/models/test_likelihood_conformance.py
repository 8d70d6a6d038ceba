"""Conformance of every likelihood of the library."""

from __future__ import annotations

from pyro_vd.models import Bernoulli, Categorical, Likelihood, Normal, Poisson
from pyro_vd.testing import LikelihoodConformance


class TestCategorical(LikelihoodConformance):
    outputs = 3
    wrong = (-1.0, 3.0)

    def make(self) -> Likelihood:
        return Categorical()


class TestNormal(LikelihoodConformance):
    def make(self) -> Likelihood:
        return Normal(scale=0.7)


class TestNormalOfSeveralNumbers(TestNormal):
    outputs = 3


class TestNormalOfALearntScale(LikelihoodConformance):
    def make(self) -> Likelihood:
        return Normal(initial_scale=2.0)


class TestPoisson(LikelihoodConformance):
    wrong = (-1.0, 0.5)

    def make(self) -> Likelihood:
        return Poisson()


class TestPoissonOfSeveralCounts(TestPoisson):
    outputs = 3


class TestBernoulli(LikelihoodConformance):
    wrong = (-1.0, 0.5, 2.0)

    def make(self) -> Likelihood:
        return Bernoulli()


class TestBernoulliOfSeveralLabels(TestBernoulli):
    outputs = 3
