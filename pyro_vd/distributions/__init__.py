"""Priors and posteriors of weights and units, and the KL divergences between them.

All are Pyro distributions. The parameters of a weight's posterior are its mean θ and the ratio α of its variance to θ². The KL
divergence from a posterior to its prior is a closed form or an approximation with a known error, never a sampled estimate.
"""

import lazy_loader

from pyro_vd._core.extras import check_installed

check_installed(__name__, "pyro-ppl")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
