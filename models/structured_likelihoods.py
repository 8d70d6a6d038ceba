"""Likelihoods made of others: several heads, and examples with weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.observations import check_likelihood, distribution_of
from pyro_vd.evaluation.structured import JointDistribution, WeightedDistribution, has_weights
from pyro_vd.models.likelihood import Likelihood, pyro_distribution


class Heads(nn.Module):
    """The likelihoods of a network with several heads, each of one entry of the output; observations are a mapping.

    The log likelihood of an example is the sum over the heads. A head that the observations lack is not observed; single
    examples of a head are left out by weights of 0, see :class:`Weighted`, or, of classes, by ``ignore_index``. A
    :class:`~pyro_vd.models.BayesianNetwork` makes it of a mapping::

        BayesianNetwork(net, {"label": Categorical(), "age": Normal()})  # of an output {"label": …, "age": …}

    Args:
        heads: likelihoods by the name of the head, which is a key of the network's output and of the observations, without a
            ``.``. Parameters of the likelihoods are trained in place.

    Raises:
        InputError: there is no head, a name is not text or has a ``.``, or a value is not a likelihood.
    """

    def __init__(self, heads: Mapping[str, Likelihood]) -> None:
        super().__init__()
        if not isinstance(heads, Mapping) or not heads:
            raise InputError(name="heads", value=heads, allowed="a mapping from names of heads to likelihoods, at least one")
        for name, likelihood in heads.items():
            if not isinstance(name, str) or not name or "." in name:
                raise InputError(name="heads", value=name, allowed="names of heads as text without a '.'")
            check_likelihood(likelihood)
            if likelihood is None or isinstance(likelihood, Heads):
                raise InputError(name=f"heads[{name!r}]", value=likelihood, allowed="a likelihood of one head: Categorical()")
        if has_weights(heads):
            raise InputError(
                name="heads", value=list(heads), allowed="other names: with these, observations would have weights"
            )
        self.heads: dict[str, Likelihood] = dict(heads)
        self.learnt: nn.ModuleDict = nn.ModuleDict({name: part for name, part in heads.items() if isinstance(part, nn.Module)})

    def select(self, output: Any) -> dict[str, Any]:
        """Return the entries of the network's output that are heads.

        Raises:
            InputError: the output is not a mapping with all of them.
        """
        missing = [name for name in self.heads if not isinstance(output, Mapping) or name not in output]
        if missing:
            given = f"the keys {', '.join(map(repr, output))}" if isinstance(output, Mapping) else f"a {type(output).__name__}"
            raise InputError(
                f"the network's output is {given}; the likelihood needs the heads {', '.join(map(repr, self.heads))}",
                name="output",
                value=list(output) if isinstance(output, Mapping) else type(output).__name__,
                allowed=f"a mapping with {', '.join(map(repr, self.heads))}",
            )
        return {name: output[name] for name in self.heads}

    def forward(self, output: Any) -> dist.TorchDistribution:
        parts = self.select(output)
        joint = JointDistribution({name: distribution_of(part, parts[name]) for name, part in self.heads.items()})
        return pyro_distribution(joint)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={part!r}" for name, part in self.heads.items() if name not in self.learnt)


class Weighted(nn.Module):
    """A likelihood of examples with weights: the log likelihood of each example is multiplied by its weight.

    Observations are those of the likelihood, or a mapping of these and of weights of at least 0, one per example::

        model = BayesianNetwork(net, Weighted(Normal()))
        fit(guide, (x, {"y": y, "weight": weight}))

    An example of weight 0 is not observed, and does not count in any measure. Other weights change the loss of a training only.

    Args:
        likelihood: the likelihood of the observations ``y``. Its parameters are trained in place.

    Raises:
        InputError: it is not a likelihood, or a :class:`Heads`, of which each head has weights of its own.
    """

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        check_likelihood(likelihood)
        if likelihood is None or isinstance(likelihood, Heads | Weighted):
            allowed = "a likelihood of one tensor; of several heads, each has its own Weighted(…)"
            raise InputError(name="likelihood", value=likelihood, allowed=allowed)
        self.likelihood = likelihood

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return pyro_distribution(WeightedDistribution(distribution_of(self.likelihood, output)))

    def extra_repr(self) -> str:
        return "" if isinstance(self.likelihood, nn.Module) else repr(self.likelihood)
