"""Sparse variational dropout for Pyro and PyTorch.

A network goes in, a Pyro model with log-uniform weight priors and a multiplicative-Gaussian guide learns which weights matter,
and a small plain PyTorch network comes out. Names are imported at first use, so that ``import pyro_vd`` is light and a pruned
network loads where Pyro is not installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyro_vd.distributions import LogUniform, MultiplicativeNormal, NormalARD
    from pyro_vd.elbo import VariationalDropoutELBO
    from pyro_vd.errors import InputError, NonFiniteError
    from pyro_vd.guides import PointEstimate, VariationalDropout
    from pyro_vd.models import MLP, BayesianNetwork, Categorical, LeNet300
    from pyro_vd.reparam import LocalReparameterization

__version__ = "0.1.0"

_HOME = {
    "distributions": ("LogUniform", "MultiplicativeNormal", "NormalARD"),
    "elbo": ("VariationalDropoutELBO",),
    "errors": ("InputError", "NonFiniteError"),
    "guides": ("PointEstimate", "VariationalDropout"),
    "models": ("MLP", "BayesianNetwork", "Categorical", "LeNet300"),
    "reparam": ("LocalReparameterization",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "MLP",
    "BayesianNetwork",
    "Categorical",
    "InputError",
    "LeNet300",
    "LocalReparameterization",
    "LogUniform",
    "MultiplicativeNormal",
    "NonFiniteError",
    "NormalARD",
    "PointEstimate",
    "VariationalDropout",
    "VariationalDropoutELBO",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'pyro_vd' has no attribute {name!r}")
    return getattr(import_module(f"pyro_vd.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
