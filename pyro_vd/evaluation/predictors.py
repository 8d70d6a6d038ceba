"""What predicts: an ordinary network, or the guide of a Bayesian one. Needs torch alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd._core.errors import InputError
from pyro_vd.data.dataset import Data
from pyro_vd.evaluation.checks import check_inputs, check_network
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.memory import rows_at_once
from pyro_vd.evaluation.network_size import NetworkSize, network_size
from pyro_vd.evaluation.observations import Observed, check_likelihood, distribution_of
from pyro_vd.networks.markers import GuideMarker, ModelMarker
from pyro_vd.networks.modes import in_evaluation_mode

Observe = Callable[[Distribution, Any], Draws]
"""Maps the distribution of the observations of n examples, and the observations or None, to tensors ``(n, …)`` by name."""


class Predictor(Protocol):
    """What :func:`~pyro_vd.evaluate` and :func:`~pyro_vd.predict` ask: checks of data, and the distribution of observations.

    The distribution is asked for as means over draws, not as outputs: a Pyro model may observe what is no function of its
    network's output, and all draws of all outputs may not fit into memory.
    """

    has_draws: bool
    """Whether it predicts with several draws of its weights, which can disagree."""

    def check_inputs(self, name: str, x: Any) -> Tensor:
        """The inputs as a tensor, after a try; ``name`` is what an error calls them."""

    def check_data(self, name: str, data: Data) -> tuple[Tensor, Tensor]:
        """Inputs and observations as tensors, after a try; of a data set the test data."""

    def means(self, x: Tensor, y: Tensor | None, observe: Observe) -> Draws:
        """The mean over the draws of what is observed with each, in evaluation mode, in float64; of ``log_…`` the log of it."""

    def size(self, x: Tensor) -> NetworkSize:
        """How small the network is that would be deployed."""


class NetworkPredictor:
    """An ordinary network with one set of weights, and the likelihood of its output; None for classes from logits."""

    has_draws = False

    def __init__(self, net: nn.Module, likelihood: Observed | None = None) -> None:
        check_likelihood(likelihood)
        self._net, self._likelihood = net, likelihood

    def check_inputs(self, name: str, x: Any) -> Tensor:
        return check_inputs(name, x, self._net)

    def check_data(self, name: str, data: Data) -> tuple[Tensor, Tensor]:
        return check_network(name, data, self._net, self._likelihood, part="test")

    @torch.no_grad()
    def means(self, x: Tensor, y: Tensor | None, observe: Observe) -> Draws:
        return observe(distribution_of(self._likelihood, outputs(self._net, x).double()), y)

    def size(self, x: Tensor) -> NetworkSize:
        return network_size(self._net, x)


def predictor_of(name: str, net: object, num_samples: int, likelihood: Observed | None) -> Predictor:
    """The predictor that a guide makes of itself, or one of an ordinary network.

    Args:
        name: of the function that was called, for an error.
        net: what it was given.
        num_samples: draws of a guide's predictive.
        likelihood: of an ordinary network's output.

    Raises:
        InputError: neither a network nor a guide; a likelihood beside a guide, whose model has its own.
    """
    num_samples = check_number("num_samples", num_samples, low=1, high=LARGEST, whole=True)
    if not isinstance(net, nn.Module) or isinstance(net, ModelMarker):
        raise InputError(
            f"{name} was given a {type(net).__name__}; it takes an ordinary network, or the guide of a model, such as "
            "VariationalDropout(model)"
        )
    if not isinstance(net, GuideMarker):
        return NetworkPredictor(net, likelihood)
    if likelihood is not None:
        raise InputError(
            name="likelihood", value=type(likelihood).__name__, allowed="None with a guide: its model has a likelihood"
        )
    predictor: Predictor = cast(Any, net).predictor(num_samples)
    return predictor


@torch.no_grad()
def outputs(net: nn.Module, x: Tensor) -> Tensor:
    """The network's outputs in evaluation mode, on its device, where ``x`` is; its modes are put back.

    As many examples at a time as :mod:`~pyro_vd.evaluation.memory` allows, all together where they cannot be run apart.
    """
    device = next((tensor.device for tensor in (*net.parameters(), *net.buffers())), x.device)
    with in_evaluation_mode(net):
        rows = rows_at_once(lambda k: net(x[:k].to(device)), len(x), device)
        return torch.cat([net(part.to(device)).to(x.device) for part in x.split(rows)])
