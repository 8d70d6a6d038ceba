from .elbo import VariationalDropoutELBO
from .reparam import LocalReparameterization

__all__ = [
    "LocalReparameterization",
    "VariationalDropoutELBO",
]
