"""The ELBO of a model and its guide, with local reparameterization.

:class:`VariationalDropoutELBO` is a ``pyro.infer.ELBO`` with an analytic KL divergence. :class:`LocalReparameterization` is the
effect handler that draws the outputs of layers instead of their weights.
"""

import lazy_loader

from pyro_vd._core.extras import check_installed

check_installed(__name__, "pyro-ppl")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
