"""The predictive distribution of numbers, an equal mixture over the draws of the weights, and its quantiles."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform
from torch.distributions.transforms import _InverseTransform

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.cdf import cdf
from pyro_vd.evaluation.class_labels import base_distribution
from pyro_vd.evaluation.draws import EACH, Draws

_HALVINGS = 100
"""The steps of a bisection: its interval becomes smaller than the rounding of its ends."""


class KeptDraws:
    """Keeps the distributions of numbers under all draws of the weights as tensors, which can pass ``torch.vmap``.

    A distribution is its class and all tensors in it. :meth:`tensors` takes the tensors out, one row per example, and
    :meth:`mixture` puts them back into copies of the distribution, one per draw.
    """

    def __init__(self) -> None:
        self._base: Any = None
        self._shared: set[str] = set()

    def tensors(self, distribution: Distribution) -> Draws:
        """Return the tensors of the distribution of n examples by name, each ``(n, …)``."""
        base: Any = base_distribution(distribution)
        n, found = distribution.batch_shape[0], dict(_tensors(base))
        if self._base is None:  # later parts can have one example, as a tensor that all examples share
            ndim = len(base.batch_shape)
            self._shared = {path for path, tensor in found.items() if tensor.ndim < ndim or tensor.shape[0] != n}
        self._base = base
        return {
            f"{EACH}{path}": tensor.expand(n, *tensor.shape) if path in self._shared else tensor
            for path, tensor in found.items()
        }

    def mixture(self, draws: Draws) -> Mixture:
        """Return the mixture over the draws of the tensors, each ``(draws, n, …)``."""
        named = {name.removeprefix(EACH): value for name, value in draws.items() if name.startswith(EACH)}
        count, n = next(iter(named.values())).shape[:2]
        each = (
            {path: value[draw, 0] if path in self._shared else value[draw] for path, value in named.items()}
            for draw in range(count)
        )
        return Mixture([_with_tensors(self._base, tensors, n) for tensors in each])


def _tensors(value: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors in a distribution, and in distributions and transforms inside it, with their paths."""
    if isinstance(value, Tensor):
        yield path, value
    for key, part in _parts(value):
        yield from _tensors(part, f"{path}/{key}")


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Distribution | Transform):
        return [(name, part) for name, part in vars(value).items() if name not in _caches(value)]
    return list(enumerate(value)) if isinstance(value, list | tuple) and not isinstance(value, torch.Size) else []


def _caches(value: Any) -> dict[str, Any]:
    """The attributes of a transform that it computes again where they have these values."""
    inverse = isinstance(value, _InverseTransform)
    return {} if inverse or not isinstance(value, Transform) else {"_inv": None, "_cached_x_y": (None, None)}


def _with_tensors(value: Any, tensors: Draws, n: int, path: str = "") -> Any:
    """A copy of a distribution with other tensors, of n examples."""
    if isinstance(value, Tensor):
        return tensors[path]
    made = {key: _with_tensors(part, tensors, n, f"{path}/{key}") for key, part in _parts(value)}
    if isinstance(value, Distribution | Transform):
        copied: Any = copy.copy(value)
        vars(copied).update(made | {name: empty for name, empty in _caches(value).items() if name in vars(value)})
        if isinstance(value, Distribution):
            copied._batch_shape = torch.Size((n, *value.batch_shape[1:])) if value.batch_shape else value.batch_shape
            copied._validate_args = False
        return copied
    return type(value)(made.values()) if made else value


class Mixture:
    """An equal mixture of distributions of numbers ``(n, …)``, one component per draw of the weights.

    Args:
        components: distributions of one number each, with the same batch shape.
    """

    def __init__(self, components: list[Any]) -> None:
        self.components = components

    def mean(self) -> Tensor:
        """Return the mean of each number."""
        return self._moments()[0].mean(0)

    def epistemic(self) -> Tensor:
        """Return the variance of the components' means, 0 for one component: what more data could remove."""
        return self._moments()[0].var(0, correction=0)

    def aleatoric(self) -> Tensor:
        """Return the mean of the components' variances, the noise of the observations; NaN where torch has no variance."""
        return self._moments()[1].mean(0)

    def cdf(self, y: Tensor) -> Tensor:
        """Return P(Y ≤ y) of numbers of the shape of the mean.

        Raises:
            InputError: the distribution function is not known.
        """
        found = torch.stack([cdf(component, y)[1] for component in self.components]).mean(0)
        if found.isnan().all():
            kind = type(self.components[0]).__name__
            raise InputError(
                f"observations from a {kind} have no known distribution function, and so no quantiles",
                name="likelihood",
                value=kind,
                allowed="a distribution with a method cdf",
            )
        return found

    def quantile(self, level: float) -> Tensor:
        """Return the smallest y with P(Y ≤ y) ≥ level, for a level in (0, 1), by bisection.

        Raises:
            InputError: see :meth:`cdf`.
        """
        mean, sd = self.mean(), (self.epistemic() + self.aleatoric().nan_to_num(0)).sqrt()
        discrete = self.components[0].support.is_discrete
        low, high, width = mean.floor() - 1, mean.ceil() + 1, 10 * sd + 1
        for _ in range(_HALVINGS):
            under, over = self.cdf(low) >= level, ~(self.cdf(high) >= level)
            if not bool((under | over).any()):
                break
            low, high, width = torch.where(under, low - width, low), torch.where(over, high + width, high), 2 * width
            low, high = (low.floor(), high.ceil()) if discrete else (low, high)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            middle = middle.floor() if discrete else middle
            if not bool(((middle > low) & (middle < high)).any()):
                break  # no number is left between the bounds
            enough = self.cdf(middle) >= level
            low, high = torch.where(enough | (middle <= low), low, middle), torch.where(enough & (middle > low), middle, high)
        return high

    def _moments(self) -> tuple[Tensor, Tensor]:
        means = torch.stack([component.mean for component in self.components])
        try:
            variances = torch.stack([component.variance for component in self.components])
        except NotImplementedError:
            variances = torch.full_like(means, torch.nan)
        return means, variances
