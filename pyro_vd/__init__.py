"""Sparse variational dropout for Pyro and PyTorch.

A network goes in, a Pyro model with log-uniform weight priors and a multiplicative-Gaussian guide learns which weights matter,
and a small plain PyTorch network comes out. The public names and packages are listed in ``__init__.pyi``, for type checkers and
at run time. Each is imported at its first use, so ``import pyro_vd`` is fast, and a pruned network loads where Pyro is not
installed.
"""

import pkgutil

import lazy_loader

__getattr__, __dir__, _listed = lazy_loader.attach_stub(__name__, __file__)

__all__ = sorted(set(_listed) - {module.name for module in pkgutil.iter_modules(__path__)})
"""What ``from pyro_vd import *`` gives: the functions and classes. Packages have names, such as ``data``, that users need."""

__version__ = "0.1.0"
