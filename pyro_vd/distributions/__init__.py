"""Priors and posteriors of weights and units, and the KL divergences between them.

They are Pyro distributions. A posterior of a weight is described by its mean θ and the ratio α of its variance to θ²; the KL
divergence from a posterior to its prior has a closed form or an approximation with a known error, never a sampled estimate.
"""

import lazy_loader

from pyro_vd._core.extras import check_installed

check_installed(__name__, "pyro-ppl")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
