"""Any network as a Pyro model: a prior on every weight, and a likelihood of the output."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from functools import partial
from types import FunctionType
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
from pyro.nn import pyro_method
from torch import Tensor, nn

from pyro_vd._core.arguments import check_number
from pyro_vd._core.eager import uncompiled
from pyro_vd._core.errors import InputError
from pyro_vd.distributions.priors import LogUniform, standing_in
from pyro_vd.evaluation.observations import check_likelihood
from pyro_vd.evaluation.selection import Output, Selected, observation_of, of_part, with_inner
from pyro_vd.inference.joint_draws import OBSERVED
from pyro_vd.inference.known_sites import Draw, says_its_sites, site
from pyro_vd.models.admission import check_likelihood_type
from pyro_vd.models.class_likelihoods import Categorical
from pyro_vd.models.likelihood import Likelihood, pyro_distribution
from pyro_vd.models.site_priors import Prior, site_priors
from pyro_vd.models.structured_likelihoods import Heads
from pyro_vd.models.weight_sites import Selection
from pyro_vd.models.weighted_network import WeightedNetwork
from pyro_vd.networks.checks import check_module
from pyro_vd.networks.inputs import Inputs, num_examples

logger: logging.Logger = logging.getLogger(__name__)


class BayesianNetwork(WeightedNetwork):
    """A Pyro model over any ``nn.Module``: a prior on its weights, and a likelihood of its output.

    Every weight of a layer of a registered kind becomes a sample site, named as in ``net.named_parameters()``: those of linear
    and bilinear layers, convolutions, transposed convolutions, embeddings, multi-head attention and recurrent layers. All other
    parameters, such as biases and those of normalisation layers, stay plain parameters unless ``include`` names them: they are
    fitted by maximum likelihood, or stay as they are where they are frozen (``requires_grad=False``). If there are others than
    biases and normalisation, one log message lists what stays plain. The network is copied and never changed. Its weights are
    kept as ``initial_weights``, from which a guide starts, so that a trained network keeps what it has learnt.

    Modules in evaluation mode stay in it: :meth:`train` puts all other modules into training mode, so that the statistics of a
    frozen backbone stay as they are, bit for bit. Where all modules are in evaluation mode, the network was just loaded or
    measured, which says nothing about training. It is then trained in training mode, except for its batch and instance
    normalisation, and for modules whose parameters are all frozen, with everything inside them.

    Args:
        net: maps a batch of inputs to the likelihood's input. Inputs are one tensor ``(batch, …)``, a tuple for ``net(*x)`` or
            a mapping for ``net(**x)``; see :data:`~pyro_vd.networks.inputs.Inputs`.
        likelihood: maps the network's output to the distribution of an observation, of ``torch`` or Pyro; by default
            :class:`~pyro_vd.models.Categorical`. A likelihood with parameters, such as :class:`~pyro_vd.models.Normal`, is not
            copied: its parameters are trained in place. A mapping of likelihoods is for a network whose output is a mapping
            with the same keys, several heads; see :class:`~pyro_vd.models.Heads`.
        output: which part of the network's output the likelihood takes: a key or an attribute, such as ``"logits"``, an index,
            or a function. The model's :attr:`likelihood` is then a :class:`~pyro_vd.evaluation.Selected`, which takes the whole
            output. None takes all of it.
        prior: maps a weight's shape to its prior, by default :class:`~pyro_vd.distributions.priors.LogUniform`. The priors are
            made once: tensors in them stay on their device. A mapping gives priors by pattern, of which the first that matches
            a weight's name counts: ``{"embedding.*": NormalJeffreys, "*": LogUniform}``.
        include: further parameters that get a prior, such as biases: names and patterns as ``"*.bias"``, or a function of a
            parameter's name and the parameter. Each is drawn once per pass.
        exclude: parameters that get no prior, in the same form.
        shared: names of weights that are drawn once per pass, whatever their use. Weights that are used more than once in a
            forward pass (tied layers, recurrence) are found without it.
        num_data: N, the size of the whole training set. The log likelihood of a batch of B examples is multiplied by N/B, so
            that the loss estimates the loss of all data. None takes each batch as the whole training set. ``fit`` sets it.

    Raises:
        InputError: ``net`` is not a network, has no weight for a prior, or is refused by
            :func:`~pyro_vd.models.admission.check_admission`; ``likelihood`` is not a likelihood, or has learnt parameters of
            half precision; ``output`` is not a key, an index or a function; ``prior`` gives no distribution of the weight's
            shape; ``shared`` names an unknown weight; a pattern in ``include``, ``exclude`` or ``prior`` matches no name;
            ``num_data`` is not an integer of at least 1.

    Examples:
        >>> from torch import nn
        >>> from pyro_vd import BayesianNetwork
        >>> model = BayesianNetwork(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
        >>> model.weight_names
        ['0.weight', '2.weight']
    """

    def __init__(
        self,
        net: nn.Module,
        likelihood: Likelihood | Mapping[str, Likelihood] | None = None,
        *,
        output: Output | None = None,
        prior: Prior | Mapping[str, Prior] = LogUniform,
        include: Selection = (),
        exclude: Selection = (),
        shared: Collection[str] = (),
        num_data: int | None = None,
    ) -> None:
        check_module("net", net)
        super().__init__()
        likelihood = Heads(likelihood) if isinstance(likelihood, Mapping) else likelihood
        check_likelihood(likelihood)
        check_likelihood_type(likelihood)
        self.likelihood: Likelihood = with_inner(
            likelihood if output is None else Selected(output, likelihood),
            lambda inner: Categorical() if inner is None else inner,
        )
        self._given_function = given if isinstance(given := of_part(likelihood), FunctionType) else None
        self.num_data: int | None = None if num_data is None else check_number("num_data", num_data, low=1, whole=True)
        sites = self._take(net, shared, include, exclude)
        self.priors: dict[str, dist.TorchDistribution] = site_priors(prior, {n: weight.shape for n, weight in sites.items()})

    _said_unconditioned = False

    @property
    def observed(self) -> Likelihood | None:
        """The likelihood for use outside of ``forward``, of the network's whole output.

        A function that ``forward`` sets is None here, which stands for classes from logits: it may use what ``forward`` draws,
        so that it cannot be called outside.
        """
        return with_inner(self.likelihood, self._outside)

    def _outside(self, inner: Likelihood) -> Likelihood | None:
        return None if isinstance(inner, FunctionType) and inner is not self._given_function else inner

    def prior(self, name: str) -> dist.TorchDistribution:
        """Return the prior of a site's weight, a distribution with an empty batch shape."""
        return self.priors[name]

    @pyro_method
    def _known_sites(self, draw: Draw, x: Inputs, y: Any) -> dict[str, Any] | None:
        """Return the sample sites of :meth:`forward`, with weights that ``draw`` gives; None where it would refuse them."""
        n, of_subclass = num_examples(x), type(self).sample_output is not BayesianNetwork.sample_output
        weights = None if of_subclass or not n else draw(self.priors)
        if weights is None:
            return None
        observation, scale = self._observation(self.output(weights, x), n)
        sites = {name: site(prior, weights[name]) for name, prior in self.priors.items()}
        return {**sites, OBSERVED: site(observation, y, is_observed=True, scale=scale)}

    @says_its_sites(_known_sites)
    @uncompiled
    def forward(self, x: Inputs, y: Any = None) -> Any:
        """Return the network's output for a batch under one draw of the weights, and observe or sample the site ``y``.

        Args:
            x: inputs in any form, a batch.
            y: observations ``(batch, …)``, which are scored; None samples them.

        Raises:
            InputError: there are no examples; the likelihood does not give one distribution per example; a weight has another
                shape than one draw.
        """
        if not (n := num_examples(x)):
            raise InputError(name="x", value="a batch of 0 examples", allowed="a batch of at least one example")
        output = self.sample_output(x)
        observation, scale = self._observation(output, n)
        with pyro.plate("data", n), poutine.scale(scale=scale):
            pyro.sample(OBSERVED, observation, obs=y)
        return output

    def _observation(self, output: Any, n: int) -> tuple[dist.TorchDistribution, float]:
        """Return the distribution of the observations of n examples, and what their log likelihood is multiplied by."""
        observation = pyro_distribution(observation_of(self.likelihood, output))
        if observation.batch_shape != (n,):
            raise InputError(
                f"the likelihood of a batch of {n} has the batch shape {tuple(observation.batch_shape)}; it must be "
                f"({n},), one distribution per example, with further dimensions declared by to_event",
                name="likelihood",
                value=tuple(observation.batch_shape),
                allowed=f"({n},)",
            )
        return observation, 1.0 if self.num_data is None else self.num_data / n

    @uncompiled
    @pyro_method
    def sample_output(self, x: Inputs) -> Any:
        """Return the network's whole output for a batch under one draw of the weights, for use inside a larger Pyro model.

        The weights are sample sites of the larger model, which observes the data itself and scales their log likelihood. An
        improper prior has no samples: where no guide gives the weights, as in a trace of the model's shapes, the network's own
        weights are used, and a log message says so.

        Args:
            x: inputs in any form, a batch.

        Raises:
            InputError: a weight has another shape than one draw, as in a plate or with parallel draws.
        """
        values: dict[str, Tensor] = {}
        for name, prior in self.priors.items():
            values[name] = pyro.sample(name, standing_in(prior, partial(self._own_weight, name)))
            if values[name].shape != prior.shape():
                raise InputError(
                    f"site {name!r} was given a weight of the shape {tuple(values[name].shape)}; it must have the shape of one "
                    f"draw, {tuple(prior.shape())}: call the model outside of plates, and use Predictive(..., parallel=False)",
                    name=name,
                    value=tuple(values[name].shape),
                    allowed=f"the shape of one draw, {tuple(prior.shape())}",
                )
        return self.output(values, x)

    def _own_weight(self, name: str) -> Tensor:
        """Return the network's own weight in place of a sample of an improper prior; the first time, log a message."""
        if not self._said_unconditioned:
            self._said_unconditioned = True
            logger.warning(
                "%s runs without a guide: the prior of its weights has no samples, so they are the network's own",
                type(self).__name__,
            )
        return self.initial_weights[name]
