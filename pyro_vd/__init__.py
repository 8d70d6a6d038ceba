"""Sparse variational dropout for Pyro and PyTorch.

A network goes in, a Pyro model with log-uniform weight priors and a multiplicative-Gaussian guide learns which weights matter,
and a small plain PyTorch network comes out. The public names and packages are listed in ``__init__.pyi``, for type checkers and
at run time. Each is imported at its first use, so ``import pyro_vd`` is fast, and a pruned network loads where Pyro is not
installed.
"""

import pkgutil
import sys
from pathlib import Path
from threading import RLock
from typing import Any

import lazy_loader

_get, __dir__, _listed = lazy_loader.attach_stub(__name__, __file__)
_importing = RLock()


def __getattr__(name: str) -> Any:
    with _importing:  # Python's own locks are one per module, and threads that import in another order meet half-made modules
        if name in _listed or name.startswith("_"):
            return _get(name)
    from pyro_vd._core.public_names import place_of

    place = place_of(name, Path(__file__).parent, sorted(set(_listed) - set(__all__)))
    if place and sys._getframe(1).f_globals.get("__name__") == "importlib._bootstrap":
        # ``from pyro_vd import Normal`` would put a message of its own in the place of that of an AttributeError.
        package = place.rpartition(".")[0]
        raise ImportError(f"cannot import name {name!r} from {__name__!r}: it is in {package!r}", name=__name__, path=__file__)
    instead = f"; it is {place}" if place else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{instead}", name=name, obj=sys.modules[__name__])


__all__ = sorted(set(_listed) - {module.name for module in pkgutil.iter_modules(__path__)})
"""What ``from pyro_vd import *`` gives: the functions and classes. Packages have names, such as ``data``, that users need."""

__version__ = "0.1.0"
