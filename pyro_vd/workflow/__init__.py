"""Recipes, the folders of runs, sweeps over them, comparisons. Names are imported at first use: tables need no Pyro."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
