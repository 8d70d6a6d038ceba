"""Runs: the recipes that describe them, their folders, sweeps over several runs, and comparisons of their results.

Names are imported at their first use, so that tables need no Pyro.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
