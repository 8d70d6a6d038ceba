"""What a likelihood is, and what the likelihoods of the library have in common."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, Protocol

import pyro.distributions as dist
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor
from torch.distributions import Distribution


class Likelihood(Protocol):
    """A map from the network's output, ``(batch, …)``, to a distribution of ``torch`` or Pyro with batch shape ``(batch,)``.

    A likelihood that is an ``nn.Module`` belongs to the model: its parameters are trained, moved and saved with the model. It
    may also be any other object with a method ``__call__``, or a function. A function that a model sets in its own ``forward``
    may depend on what the model draws, and is not called outside of the model.
    """

    def __call__(self, output: Any, /) -> Distribution: ...


def pyro_distribution(distribution: Distribution) -> dist.TorchDistribution:
    """Return a distribution of ``torch`` as one of Pyro with the same tensors; one of Pyro is returned as it is."""
    if isinstance(distribution, TorchDistributionMixin):
        return distribution
    made: Any = copy.copy(distribution)
    made.__class__ = of_pyro(made.__class__)
    return made


@cache
def of_pyro(kind: type[Distribution]) -> type[Any]:
    """Return the class of Pyro with the numbers of a class of ``torch``."""
    own = getattr(dist, kind.__name__, None)
    if isinstance(own, type) and own.__mro__[1:2] == (kind,) and "__init__" not in vars(own):  # which sets more attributes
        return own
    return type(kind.__name__, (kind, TorchDistributionMixin), {"__module__": kind.__module__, "__doc__": kind.__doc__})


def without_column(output: Tensor) -> Tensor:
    """Return an output ``(n, 1)`` as ``(n,)``, any other as it is."""
    return output[:, 0] if output.ndim == 2 and output.shape[1] == 1 else output


def one_per_example(distribution: Distribution) -> dist.TorchDistribution:
    """Return a distribution of Pyro whose batch shape is ``(n,)``; all further dimensions belong to an example's event."""
    found = pyro_distribution(distribution)
    return found.to_event(len(found.batch_shape) - 1)
