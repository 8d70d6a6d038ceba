"""Pruning: the way from a trained guide to a plain network in which removed weights are zero.

A :class:`PruningRule` defines which weights are removed, :func:`prune` removes them, and :func:`choose_threshold` finds the
smallest network whose error on validation data is still small enough.
"""

import lazy_loader

from pyro_vd._core.extras import check_installed

check_installed(__name__, "pyro-ppl")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
