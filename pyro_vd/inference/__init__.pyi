from .elbo import VariationalDropoutELBO
from .lazy_weight import draw_weight
from .reparam import LocalReparameterization

__all__ = [
    "LocalReparameterization",
    "VariationalDropoutELBO",
    "draw_weight",
]
