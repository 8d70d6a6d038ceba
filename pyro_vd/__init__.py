"""Sparse variational dropout for Pyro and PyTorch.

A network goes in, a Pyro model with log-uniform weight priors and a multiplicative-Gaussian guide learns which weights matter,
and a small plain PyTorch network comes out. The public names are listed in ``__init__.pyi``, for type checkers and at run time;
each is imported at its first use, so that ``import pyro_vd`` is light and a pruned network loads where Pyro is not installed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
