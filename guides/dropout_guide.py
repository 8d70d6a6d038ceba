"""The base class of the guides with a fixed dropout rate, and their noise on the hidden units."""

from __future__ import annotations

from inspect import signature
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from pyro_vd._core.arguments import check_rate
from pyro_vd._core.errors import InputError
from pyro_vd.distributions.unit_dropout import UnitDropout, UnitNoise
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.networks.inputs import Inputs, tensors_in


class DropoutGuide(WeightGuide):
    """A guide whose noise has a fixed rate; only the means θ are learnt.

    Args:
        model: the Bayesian network; θ starts at its weights.
        p: dropout rate, in [0, 1).

    Raises:
        InputError: ``p`` is out of range, or ``model`` is not a Bayesian network.
    """

    def __init__(self, model: BayesianNetwork, p: float) -> None:
        p = check_rate("p", p)
        super().__init__(model)
        self.p = p
        self._with_inputs = frozenset(name for name in self.site_names if "in" in model.weight_axes(name))

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        if not self.model.is_followed and (x := self._inputs(args, kwargs)) is not None:
            self.model.watch_use(x)
        return super().forward(*args, **kwargs)

    def _inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inputs | None:
        """Return the model's inputs: the first argument that holds a tensor, in the order of the model's own parameters."""
        rank = {name: place for place, name in enumerate(signature(self.model.forward).parameters)}
        named = sorted(kwargs, key=lambda name: rank.get(name, len(rank)))
        given = (*args, *(kwargs[name] for name in named))
        return next((value for value in given if any(True for _ in tensors_in(value))), None)

    def extra_repr(self) -> str:
        return f"p={self.p}"

    def check_units(self) -> None:
        """Refuse a model without hidden units that can have noise.

        Raises:
            InputError: every layer reads the data.
        """
        if not any(map(self._reads_units, self.site_names)):
            raise InputError(
                f"model has the weights {', '.join(self.site_names)}, whose layers all read the data; it must have hidden "
                f"units for the noise of {type(self).__name__} on units",
                name="model",
                value=self.model,
                allowed="a model with hidden units",
            )

    def _reads_units(self, name: str) -> bool:
        """Whether a site is the weight of a layer that reads the output of another layer, not the data."""
        return name in self._with_inputs and not self.model.reads_data(name)

    def unit_posterior(self, name: str, noise: UnitNoise) -> dist.TorchDistribution:
        """Return q(w) of a site under noise on the hidden units; there is none where the layer reads the data."""
        if not self._reads_units(name):
            delta: dist.TorchDistribution = dist.Delta(self.mean(name))
            return delta
        return UnitDropout(self.mean(name), self.p, noise, self.unit_layout(name))
