"""The training loop and what it is made of.

:func:`fit` trains a guide with its model, :func:`fine_tune` a pruned network; the schedules say how the weight of the KL
divergence and the learning rate change over the epochs. A subclass of :class:`Callback` is called after each step and epoch.
"""

import lazy_loader

from pyro_vd._core.extras import check_installed

check_installed(__name__, "pyro-ppl", "rich")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
