"""Runs: the recipes that describe them, their folders, sweeps over several runs, and comparisons of their results.

Names are imported at their first use, so that tables need no Pyro.
"""

import lazy_loader

from pyro_vd._core.extras import check_installed

check_installed(__name__, "rich", "pyyaml")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
