"""Predictors, the common interface of ordinary networks and guides for predictions. Needs only torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import nn
from torch.distributions import Distribution

from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd._core.errors import InputError
from pyro_vd.data.dataset import Arrays, Data
from pyro_vd.evaluation.checks import check_inputs, check_network
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.memory import rows_at_once
from pyro_vd.evaluation.network_size import NetworkSize, network_size
from pyro_vd.evaluation.observations import Observed, check_likelihood, distribution_of
from pyro_vd.evaluation.selection import joined, part_of
from pyro_vd.networks.inputs import Inputs, device_of, map_tensors, num_examples, rows, run_apart, to_device
from pyro_vd.networks.markers import GuideMarker, ModelMarker
from pyro_vd.networks.modes import in_evaluation_mode

Observe = Callable[[Distribution, Any], Draws]
"""Maps the distribution of the observations of n examples, and the observations or None, to tensors ``(n, …)`` by name."""


@runtime_checkable
class Predictor(Protocol):
    """The interface that :func:`~pyro_vd.evaluate` and :func:`~pyro_vd.predict` use: checks of data, and means over draws.

    Networks and guides have predictors; both functions also take an object of a user's own class with this interface.

    Predictors return means over draws of functions of the observations' distribution, not outputs, because in a Pyro model that
    distribution need not be a function of the network's output, and because all draws of all outputs may not fit into memory.
    """

    has_draws: bool
    """Whether it predicts with several draws of the weights."""

    def check_inputs(self, name: str, x: Any) -> Inputs:
        """Return the inputs as tensors, after running the network on some; ``name`` is what an error calls them."""

    def check_data(self, name: str, data: Data) -> Arrays:
        """Return inputs and observations (of a data set, the test data) as tensors, after running the network on some."""

    def means(self, x: Inputs, y: Any, observe: Observe) -> Draws:
        """Return the means over the draws of the tensors of ``observe``, in float64; see :class:`~.draws.DrawMeans`."""

    def size(self, x: Inputs) -> NetworkSize:
        """Return the size of the network that would be deployed."""


class NetworkPredictor:
    """The predictor of an ordinary network, with the likelihood of its output; None for classes from logits."""

    has_draws = False

    def __init__(self, net: nn.Module, likelihood: Observed | None = None) -> None:
        check_likelihood(likelihood)
        self._net, self._likelihood = net, likelihood

    def check_inputs(self, name: str, x: Any) -> Inputs:
        return check_inputs(name, x, self._net, self._likelihood)

    def check_data(self, name: str, data: Data) -> Arrays:
        return check_network(name, data, self._net, self._likelihood, part="test")

    @torch.no_grad()
    def means(self, x: Inputs, y: Any, observe: Observe) -> Draws:
        output = map_tensors(lambda tensor: tensor.double(), outputs(self._net, x, self._likelihood))
        return observe(distribution_of(self._likelihood, output), y)

    def size(self, x: Inputs) -> NetworkSize:
        return network_size(self._net, x)


def predictor_of(name: str, net: object, num_samples: int, likelihood: Observed | None) -> Predictor:
    """Return the predictor of a guide or of an ordinary network; a predictor itself is returned as it is.

    Args:
        name: name of the function that was called, for errors.
        net: an ordinary network, a guide, or a predictor that is not an ``nn.Module``.
        num_samples: number of draws of a guide's predictive, at least 1; a predictor decides for itself.
        likelihood: likelihood of an ordinary network's output; must be None for a guide, whose model has a likelihood, and for
            a predictor.

    Raises:
        InputError: ``net`` is neither a network nor a guide nor a predictor; or another argument is not allowed.
    """
    num_samples = check_number("num_samples", num_samples, low=1, high=LARGEST, whole=True)
    if not isinstance(net, nn.Module | type) and isinstance(net, Predictor):
        predictor: Predictor = net
    elif isinstance(net, GuideMarker):
        predictor = cast(Any, net).predictor(num_samples)
    elif isinstance(net, nn.Module) and not isinstance(net, ModelMarker):
        return NetworkPredictor(net, likelihood)
    else:
        raise InputError(
            f"{name} was given a {type(net).__name__}; it takes an ordinary network, the guide of a model, such as "
            "VariationalDropout(model), or a Predictor",
            name="net",
            value=net,
            allowed="an ordinary network, a guide or a Predictor",
        )
    if likelihood is not None:
        allowed = "None with a guide, whose model has a likelihood, and with a Predictor"
        raise InputError(name="likelihood", value=type(likelihood).__name__, allowed=allowed)
    return predictor


@torch.no_grad()
def outputs(net: nn.Module, x: Inputs, likelihood: Observed | None = None) -> Any:
    """Return the network's outputs in evaluation mode, on the device of ``x``; the network's modes are restored.

    The network runs on its own device, with as many examples at a time as :mod:`~pyro_vd.evaluation.memory` allows. Of each
    batch only the part of the output is kept that the likelihood takes; None keeps all of it.
    """
    home, n = device_of(x), num_examples(x)
    device = next((tensor.device for tensor in (*net.parameters(), *net.buffers())), home)

    def output(chosen: slice) -> Any:
        return part_of(likelihood, run_apart(net, to_device(rows(x, chosen), device)))

    with in_evaluation_mode(net):
        size = rows_at_once(lambda k: output(slice(k)), n, device)
        parts = [to_device(output(slice(start, start + size)), home) for start in range(0, n, size)]
        return joined(parts, [min(size, n - start) for start in range(0, n, size)])
