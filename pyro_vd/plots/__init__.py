"""Figures with matplotlib, one function per figure; each returns a ``Figure``, and no display is needed.

They show log α and the pruned weights, the weights themselves, the posterior, and the calibration of predictions.
"""

import lazy_loader

from pyro_vd._core.extras import check_installed

check_installed(__name__, "matplotlib", "pillow")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
