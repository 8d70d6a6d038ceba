"""Pyro models: a network with a prior on its weights and a likelihood of its output.

:class:`BayesianNetwork` takes any ``nn.Module``. There is a likelihood for each kind of observation: classes, numbers, counts,
or zeros and ones.
"""

import lazy_loader

from pyro_vd._core.extras import check_installed

check_installed(__name__, "pyro-ppl")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
