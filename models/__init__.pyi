from .bayesian import BayesianNetwork
from .likelihoods import Bernoulli, Categorical, Likelihood, Normal, Poisson
from .mlp import MLP, LeNet300

__all__ = [
    "MLP",
    "BayesianNetwork",
    "Bernoulli",
    "Categorical",
    "LeNet300",
    "Likelihood",
    "Normal",
    "Poisson",
]
