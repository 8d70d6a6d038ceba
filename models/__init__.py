"""Pyro models: any network with a prior on its weights and a likelihood of its output."""

from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihoods import Bernoulli, Categorical, Likelihood, Normal, Poisson
from pyro_vd.models.mlp import MLP, LeNet300

__all__ = ["MLP", "BayesianNetwork", "Bernoulli", "Categorical", "LeNet300", "Likelihood", "Normal", "Poisson"]
