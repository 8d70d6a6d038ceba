"""What the guides of ordinary dropout have in common: a rate, and noise on the hidden units."""

from __future__ import annotations

from inspect import signature
from typing import Any

import pyro.distributions as dist
from torch import Tensor

from pyro_vd._core.arguments import check_rate
from pyro_vd._core.errors import InputError
from pyro_vd.distributions.unit_dropout import UnitDropout, UnitNoise
from pyro_vd.guides.weight_guide import WeightGuide, check_units
from pyro_vd.models.bayesian import BayesianNetwork


class DropoutGuide(WeightGuide):
    """A guide whose noise has a fixed rate p; only the means θ are learnt."""

    def __init__(self, model: BayesianNetwork, p: float) -> None:
        p = check_rate("p", p)
        super().__init__(model)
        self.p = p

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        if not self.model.is_followed and (x := self._first_tensor(args, kwargs)) is not None:
            self.model.watch_use(x)
        return super().forward(*args, **kwargs)

    def _first_tensor(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
        """What the model reads: the first tensor that it is given, in the order of its own arguments."""
        rank = {name: place for place, name in enumerate(signature(self.model.forward).parameters)}
        named = sorted(kwargs, key=lambda name: rank.get(name, len(rank)))
        given = (*args, *(kwargs[name] for name in named))
        return next((value for value in given if isinstance(value, Tensor)), None)

    def extra_repr(self) -> str:
        return f"p={self.p}"

    def check_units(self, model: BayesianNetwork) -> None:
        """Make sure that the layers that do not read the data have inputs to put noise on.

        Raises:
            InputError: they have not, or theirs is a weight without one input unit per column.
        """
        after = [name for name in self.site_names if not model.reads_data(name)]
        if not after:
            raise InputError(f"noise on units is on hidden units, and a model with the weights {self.site_names} has none")
        check_units(model, after)

    def unit_posterior(self, name: str, noise: UnitNoise) -> dist.TorchDistribution:
        """q(w) under noise on the hidden units: none for a layer whose inputs are the data."""
        if self.model.reads_data(name):
            delta: dist.TorchDistribution = dist.Delta(self.mean(name))
            return delta
        return UnitDropout(self.mean(name), self.p, noise)
