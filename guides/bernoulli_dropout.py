"""Bernoulli dropout, the usual form of dropout, as a variational posterior."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pyro.distributions as dist

from pyro_vd._core.arguments import check_rate
from pyro_vd.distributions.priors import LogUniform
from pyro_vd.guides.dropout_guide import DropoutGuide
from pyro_vd.guides.settings import GuideSettings
from pyro_vd.models.bayesian import BayesianNetwork


class BernoulliDropout(DropoutGuide):
    """A guide that multiplies each hidden unit by 0 with probability p, and by 1/(1 − p) otherwise, per example.

    Srivastava 2014; interpreted as a posterior over weights by Gal and Ghahramani 2016, arXiv 1506.02142. A unit is dropped
    where it enters the next layer, so that data and outputs are never dropped. The posterior mean is the network without
    dropout.

    Args:
        model: the Bayesian network; θ starts at its weights.
        p: dropout rate, in [0, 1).

    Raises:
        InputError: ``p`` is out of range; or the model has no hidden units.
    """

    def __init__(self, model: BayesianNetwork, p: float) -> None:
        super().__init__(model, p)
        self.check_units()

    def posterior(self, name: str) -> dist.TorchDistribution:
        return self.unit_posterior(name, "bernoulli")


@dataclass
class BernoulliDropoutSettings(GuideSettings):
    """Bernoulli dropout, the usual form of dropout, on the hidden units."""

    kind: Literal["bernoulli"] = field(default="bernoulli", init=False)
    p: float = 0.5
    """The dropout rate, in [0, 1): the probability that a unit is 0."""

    guide: ClassVar[type[BernoulliDropout]] = BernoulliDropout

    def __post_init__(self) -> None:
        self.p = check_rate("p", self.p)

    @property
    def priors(self) -> tuple[type[Any], ...]:
        return (LogUniform,)

    def build(self, model: BayesianNetwork) -> BernoulliDropout:
        return BernoulliDropout(model, self.p)
