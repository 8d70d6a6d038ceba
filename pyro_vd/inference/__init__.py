"""The ELBO of a model and its guide, with local reparameterization, and joint draws of all that is latent."""

from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.inference.reparam import LocalReparameterization

__all__ = ["LocalReparameterization", "VariationalDropoutELBO"]
