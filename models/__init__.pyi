from .bayesian import BayesianNetwork
from .class_likelihoods import Bernoulli, Categorical, OrderedLogistic
from .count_likelihoods import NegativeBinomial, Poisson
from .likelihood import Likelihood
from .mlp import MLP, LeNet300
from .number_likelihoods import HeteroscedasticNormal, MixtureOfNormals, Normal, StudentT
from .structured_likelihoods import Heads, Weighted

__all__ = [
    "MLP",
    "BayesianNetwork",
    "Bernoulli",
    "Categorical",
    "Heads",
    "HeteroscedasticNormal",
    "LeNet300",
    "Likelihood",
    "MixtureOfNormals",
    "NegativeBinomial",
    "Normal",
    "OrderedLogistic",
    "Poisson",
    "StudentT",
    "Weighted",
]
