"""The likelihoods of the library by name: the distribution of an observation given the network's output."""

from __future__ import annotations

from pyro_vd.models.class_likelihoods import Bernoulli, Categorical, OrderedLogistic
from pyro_vd.models.count_likelihoods import NegativeBinomial, Poisson
from pyro_vd.models.number_likelihoods import HeteroscedasticNormal, MixtureOfNormals, Normal, StudentT

LIKELIHOODS: dict[str, type] = {
    "categorical": Categorical,
    "normal": Normal,
    "poisson": Poisson,
    "bernoulli": Bernoulli,
    "ordered-logistic": OrderedLogistic,
    "heteroscedastic-normal": HeteroscedasticNormal,
    "student-t": StudentT,
    "negative-binomial": NegativeBinomial,
    "mixture-of-normals": MixtureOfNormals,
}
"""The classes of likelihoods by the names that recipes and files have for them."""
