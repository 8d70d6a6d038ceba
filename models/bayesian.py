"""Any network as a Pyro model: a prior on every weight, a likelihood of the output."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from types import FunctionType

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import pyro_method
from torch import Tensor, nn

from pyro_vd._core.arguments import check_number
from pyro_vd._core.eager import uncompiled
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd.distributions.priors import LogUniform, standing_in
from pyro_vd.evaluation.observations import check_likelihood
from pyro_vd.models.admission import check_likelihood_type
from pyro_vd.models.likelihoods import Categorical, Likelihood
from pyro_vd.models.weighted_network import WeightedNetwork
from pyro_vd.networks.checks import check_module

logger: logging.Logger = logging.getLogger(__name__)

Prior = Callable[[torch.Size], dist.TorchDistribution]


class BayesianNetwork(WeightedNetwork):
    """A Pyro model over any ``nn.Module``: weights with a prior, the output scored by a likelihood.

    The weight of every linear layer, convolution and transposed convolution becomes a sample site named as in
    ``net.named_parameters()``. Everything else, biases and normalisation above all, stays a plain parameter fitted by maximum
    likelihood, or as it is where it is frozen (``requires_grad=False``); parameters of other layers are named in a log
    message. The network is copied, never changed; its weights are kept as ``initial_weights`` for a guide to start from, so a
    trained network keeps what it has learnt.

    Modules that are in evaluation mode stay in it: :meth:`train` puts all others into training mode, so that the statistics of
    a frozen backbone stay as they are, bit for bit. A network of which all modules are in evaluation mode was just loaded or
    measured. It is trained in training mode, but for its batch and instance normalisation, and for modules of which no
    parameter is learnt (``requires_grad=False``), with all that is in them.

    Args:
        net: maps a batch ``(batch, …)`` to the likelihood's input.
        likelihood: of an observation given the network's output, by default :class:`~pyro_vd.models.Categorical`. One with
            parameters, such as :class:`~pyro_vd.models.Normal`, is not copied: they are trained in place.
        prior: maps a weight's shape to its prior, by default :class:`~pyro_vd.distributions.priors.LogUniform`. It is made
            once: tensors in it stay on their device.
        shared: names of weights used more than once in one forward pass (tied layers, recurrence). They are drawn once.
        num_data: N, the size of the whole training set. The log likelihood of a batch of B is multiplied by N/B, so that
            the loss estimates that of all the data. None takes each batch as the whole. ``fit`` sets it.

    Raises:
        InputError: no layer is supported, the network cannot be copied, ``shared`` names an unknown weight, or ``likelihood``
            is none; a network that :func:`~pyro_vd.models.admission.check_admission` refuses; a likelihood whose parameters
            are of half precision.
    """

    def __init__(
        self,
        net: nn.Module,
        likelihood: Likelihood | None = None,
        *,
        prior: Prior = LogUniform,
        shared: Collection[str] = (),
        num_data: int | None = None,
    ) -> None:
        check_module("net", net)
        super().__init__()
        check_likelihood(likelihood)
        if not callable(prior):
            raise InputError(
                f"prior (={quoted(prior)}) must map a weight's shape to its prior, as LogUniform or NormalJeffreys does"
            )
        check_likelihood_type(likelihood)
        self.likelihood: Likelihood = Categorical() if likelihood is None else likelihood
        self.num_data: int | None = None if num_data is None else check_number("num_data", num_data, low=1, whole=True)
        sites = self._take(net, shared)
        self._priors = {name: _prior_event(prior, weight.shape) for name, weight in sites.items()}

    _said_unconditioned = False

    @property
    def observed(self) -> Likelihood | None:
        """The likelihood for use outside ``forward``; None, classes from logits, for a function: it may use what that draws."""
        likelihood: Likelihood = self.likelihood
        return None if isinstance(likelihood, FunctionType) else likelihood

    def prior(self, name: str) -> dist.TorchDistribution:
        """The prior of a site's weight, one event."""
        return self._priors[name]

    @uncompiled
    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """The network's output for ``x`` under one draw of the weights; ``y`` is scored, or sampled if None."""
        output = self.sample_output(x)
        scale = 1.0 if self.num_data is None else self.num_data / len(x)
        observation = self.likelihood(output)
        if observation.batch_shape != (len(x),):
            raise InputError(
                f"the likelihood of a batch of {len(x)} has the batch shape {tuple(observation.batch_shape)}; it must be "
                f"({len(x)},): one distribution per example, further dimensions declared with to_event"
            )
        with pyro.plate("data", len(x)), poutine.scale(scale=scale):
            pyro.sample("y", observation, obs=y)
        return output

    @uncompiled
    @pyro_method
    def sample_output(self, x: Tensor) -> Tensor:
        """The network's output for ``x`` under one draw of the weights, for a model of your own that this is a part of.

        The weights are sample sites of that model; what is observed, and how it is scaled to all the data, is its matter. The
        weights of an improper prior, which has no samples, are the network's own where no guide gives them, as in a trace of
        the model's shapes; a log message says so.

        Raises:
            InputError: several draws of a weight at a time.
        """
        values: dict[str, Tensor] = {}
        for name, prior in self._priors.items():
            values[name] = pyro.sample(name, standing_in(prior, partial(self._own_weight, name)))
            if values[name].shape != prior.shape():
                raise InputError(
                    f"site {name!r} was given the shape {tuple(values[name].shape)}; it must be that of one draw, "
                    f"{tuple(prior.shape())}: Predictive(..., parallel=False) takes draw by draw, outside plates"
                )
        return self.output(values, x)

    def _own_weight(self, name: str) -> Tensor:
        if not self._said_unconditioned:
            self._said_unconditioned = True
            logger.warning(
                "%s runs without a guide: the prior of its weights has no samples, so they are the network's own",
                type(self).__name__,
            )
        return self.initial_weights[name]


def _prior_event(prior: Prior, shape: torch.Size) -> dist.TorchDistribution:
    distribution = prior(shape)
    if not isinstance(distribution, TorchDistributionMixin):
        raise InputError(
            f"prior (={quoted(prior)}) gives {quoted(distribution)} for a weight; it must give a distribution of Pyro's"
        )
    event = distribution.to_event(len(distribution.batch_shape))
    if event.event_shape != shape:
        raise InputError(
            f"prior (={quoted(prior)}) gives a distribution of the shape {tuple(event.event_shape)} for a weight of the shape "
            f"{tuple(shape)}; the two must be the same, as of dist.Normal(torch.zeros(shape), 1.0)"
        )
    return event
