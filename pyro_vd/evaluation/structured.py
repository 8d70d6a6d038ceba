"""Distributions of observations that are more than one tensor: several heads, and examples with weights. Needs only torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

VALUE, WEIGHT = "y", "weight"
"""The keys of observations with weights."""


class JointDistribution(Distribution):
    """Observations of several heads: independent given the output, each under its own distribution.

    Observations are a mapping with some of the heads; a head that it lacks is not observed.

    Args:
        heads: the distribution of each head, all with the same batch shape.

    Raises:
        ValueError: there is none, or the batch shapes differ.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, heads: Mapping[str, Distribution]) -> None:
        self.heads: dict[str, Distribution] = dict(heads)
        shapes = {head.batch_shape for head in self.heads.values()}
        if len(shapes) != 1:
            raise ValueError(
                f"batch shapes {[tuple(shape) for shape in shapes]} of the heads {list(heads)}; they must be equal"
            )
        super().__init__(shapes.pop(), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """Return the distribution with a larger batch shape."""
        return type(self)({name: head.expand(batch_shape) for name, head in self.heads.items()})

    def log_prob(self, value: Mapping[str, Any]) -> Tensor:  # type: ignore[override]
        """Return the sum of the log probabilities of the heads that are observed, in nats."""
        terms = [self.heads[name].log_prob(part) for name, part in value.items()]
        return torch.stack(terms).sum(0)

    def sample(self, sample_shape: Any = ()) -> dict[str, Any]:  # type: ignore[override]
        """Return samples of all heads, by name."""
        return {name: head.sample(torch.Size(sample_shape)) for name, head in self.heads.items()}


class WeightedDistribution(Distribution):
    """A distribution whose log probability is multiplied by the weight of each example.

    Observations are those of the distribution, or a mapping of these, ``y``, and of the weights, ``weight``, ``(n,)``.

    Args:
        base: the distribution of one tensor per example, with batch shape ``(n,)``.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, base: Distribution) -> None:
        self.base = base
        super().__init__(base.batch_shape, base.event_shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        """Return the distribution with a larger batch shape."""
        return type(self)(self.base.expand(batch_shape))

    def log_prob(self, value: Any) -> Tensor:
        """Return the log probability in nats, multiplied by the weights."""
        y, weight = without_weights(value)
        found = self.base.log_prob(y)
        return found if weight is None else found * weight

    def sample(self, sample_shape: Any = ()) -> Any:
        """Return samples of the distribution, without weights."""
        return self.base.sample(torch.Size(sample_shape))


def heads_of(distribution: Distribution) -> dict[str, Distribution]:
    """Return the distributions of the heads by name; of a distribution that has none, itself, by an empty name."""
    return distribution.heads if isinstance(distribution, JointDistribution) else {"": distribution}


def unweighted(distribution: Distribution, y: Any) -> tuple[Distribution, Any, Tensor | None]:
    """Return the distribution inside of a :class:`WeightedDistribution`, the observations, and the weights or None."""
    if isinstance(distribution, WeightedDistribution):
        return distribution.base, *without_weights(y)
    return distribution, y, None


def without_weights(y: Any) -> tuple[Any, Tensor | None]:
    """Return the observations for :class:`WeightedDistribution` without their weights, and the weights or None."""
    return (y[VALUE], y[WEIGHT]) if has_weights(y) else (y, None)


def has_weights(y: Any) -> bool:
    """Whether observations are a mapping of one head's observations and weights."""
    return isinstance(y, Mapping) and set(y) == {VALUE, WEIGHT}
