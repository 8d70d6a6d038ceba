"""Any network as a Pyro model: a prior on every weight, a likelihood of the output."""

from __future__ import annotations

import copy
import logging
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import FunctionType
from typing import Any, Self, cast

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from pyro.nn import PyroModule, pyro_method
from torch import Tensor, nn

from pyro_vd.copies import copy_network, detached_copies, uncompiled_network
from pyro_vd.eager import eagerly, uncompiled
from pyro_vd.errors import InputError
from pyro_vd.execution import trace_execution
from pyro_vd.messages import did_you_mean, one_line, quoted
from pyro_vd.models.admission import check_admission, check_likelihood_type
from pyro_vd.models.gradient_watch import GradientWatch
from pyro_vd.models.likelihoods import Categorical, Likelihood
from pyro_vd.models.template import Template, tensors_of
from pyro_vd.models.usage import WeightUsage
from pyro_vd.models.weight_sites import owner_of, weight_owners
from pyro_vd.modes import kept_in_evaluation_mode, put_back_in_evaluation_mode
from pyro_vd.networks import SUPPORTED_LAYERS, weight_axes
from pyro_vd.objects import check_likelihood, check_module
from pyro_vd.priors import LogUniform, standing_in
from pyro_vd.reparam import KnownWeight
from pyro_vd.undrawn import UndrawnWeight, draw_weight

logger = logging.getLogger(__name__)

Prior = Callable[[torch.Size], dist.TorchDistribution]


class BayesianNetwork(PyroModule):
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
        prior: maps a weight's shape to its prior, by default :class:`~pyro_vd.priors.LogUniform`. It is made once: tensors
            in it stay on their device.
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
        super().__init__()
        check_module("net", net)
        check_likelihood(likelihood)
        if not callable(prior):
            raise InputError(
                f"prior (={quoted(prior)}) must map a weight's shape to its prior, as LogUniform or NormalJeffreys does"
            )
        check_admission(net)
        check_likelihood_type(likelihood)
        self.likelihood = Categorical() if likelihood is None else likelihood
        self.num_data = num_data
        self.identity = uuid.uuid4().hex  # a copy's as well; what a guide knows its model by
        try:
            net = copy_network(net)
        except (RuntimeError, TypeError) as error:
            raise InputError(f"{type(net).__name__} cannot be copied: {one_line(error)}") from error
        self._evaluated = kept_in_evaluation_mode(net)
        owners = dict(weight_owners(net))
        tied = {name for name, places in owners.items() if len(places) > 1}
        if not owners:
            raise InputError(
                f"{type(net).__name__} has no weight to put a prior on: none of its layers is one of "
                f"{', '.join(layer.__name__ for layer in SUPPORTED_LAYERS)} with a weight that is not frozen"
            )
        if unknown := sorted(set(shared) - set(owners)):
            meant = did_you_mean(unknown[0], owners)
            raise InputError(f"shared (={quoted(unknown)}) must name weights of the network: {', '.join(owners)}{meant}")
        self.shared = frozenset(shared) | tied
        self._execution = trace_execution(net, SUPPORTED_LAYERS)
        if (execution := self._execution) is not None:
            owners = dict(sorted(owners.items(), key=lambda owner: execution.rank_of(owner[1])))
        self._priors = {name: _prior_event(prior, net.get_parameter(name).shape) for name in owners}
        self._template = Template(net, owners)
        _as_never_run(net)
        self.net = net
        self._usage: dict[bool, WeightUsage] = {}
        self.gradient_watch = GradientWatch(self._priors)

    @property
    def _net(self) -> nn.Module:
        return uncompiled_network(cast(nn.Module, self._modules["net"]))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        before = tensors_of(self._net)
        super()._apply(fn, recurse)
        self._template.moved(self._net, before)
        return self

    _said_unconditioned = False

    def train(self, mode: bool = True) -> Self:
        """Training mode, but for the modules that stay in evaluation mode; or evaluation mode."""
        super().train(mode)
        if mode:
            put_back_in_evaluation_mode(self._net, self._evaluated)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo |= detached_copies(self)
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__setstate__(copy.deepcopy(vars(self), memo))
        return copied

    @property
    def observed(self) -> Likelihood | None:
        """The likelihood for use outside ``forward``; None, classes from logits, for a function: it may use what that draws."""
        likelihood: Likelihood = self.likelihood
        return None if isinstance(likelihood, FunctionType) else likelihood

    @property
    def weight_names(self) -> list[str]:
        """The names of the weight sites, in the order of execution; of registration where ``torch.fx`` cannot follow."""
        return list(self._priors)

    @property
    def initial_weights(self) -> dict[str, Tensor]:
        """The weights that the network came with, by site."""
        return {name: self._net.get_buffer(name) for name in self._priors}

    def prior(self, name: str) -> dist.TorchDistribution:
        """The prior of a site's weight, one event."""
        return self._priors[name]

    def layer(self, name: str) -> nn.Module:
        """The layer that a site's weight belongs to; the first, if it is shared."""
        return owner_of(self._net, self._template.sites[name][0])[0]

    def weight_axes(self, name: str) -> tuple[str, ...]:
        """What the dimensions of a site's weight stand for; see :func:`pyro_vd.networks.weight_axes`."""
        return weight_axes(self.layer(name), self._net.get_buffer(name).ndim)

    @property
    def is_followed(self) -> bool:
        """Whether it is known what the layers read: ``torch.fx`` can follow the network, or it has run."""
        return self._execution is not None or bool(self._usage)

    def reads_data(self, name: str) -> bool:
        """Whether the layer of a site reads the data, not what another layer with weights has made of them.

        Until :attr:`is_followed` the layer that is registered first is taken to do so, and no other.
        """
        if self._execution is not None:
            return self._execution.reads_data(self._template.sites[name])
        for usage in self._usage.values():
            return name in usage.read_data
        first = next(path for path, module in self._net.named_modules() if isinstance(module, SUPPORTED_LAYERS))
        return name == f"{first}.weight".lstrip(".")

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

    @uncompiled
    def output(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """The network's output for ``x`` with these weights, by site."""
        usage = self._usage_for(weights, x)
        drawn = self.shared | usage.to_draw(self._priors)
        learns = self.training and torch.is_grad_enabled()
        if learns:
            weights = self.gradient_watch.over(weights)
        tensors: dict[str, Tensor] = {}
        for name, places in self._template.sites.items():
            weight = draw_weight(weights[name]) if name in drawn else weights[name]
            if usage.run_again and not isinstance(weight, UndrawnWeight):
                weight = KnownWeight(weight)
            tensors.update(dict.fromkeys(places, weight))
        _ = self.net  # found by its name it registers its parameters with Pyro, where a trace is made
        net = self._template.filled(self._net, tensors, apart=not self.training)
        with eagerly():
            result: Tensor = net(x)
        if self.training:
            self._template.keep_changes(self._net, net)
        if learns:
            self.gradient_watch.through(result)
        return result

    def _usage_for(self, weights: Mapping[str, Tensor], x: Tensor) -> WeightUsage:
        """What the forward pass does with the weights, watched the first time that it runs in either mode."""
        usage = self._usage.get(self.training)
        if usage is None:
            if any(torch._C._functorch.is_functorch_wrapped_tensor(weight) for weight in weights.values()):
                return WeightUsage(Counter(self._priors))  # inside torch.vmap, which allows no run apart
            usage = self.watch_use(x)
        return usage

    def watch_use(self, x: Tensor) -> WeightUsage:
        """Run the network once, in the mode that it is in, for what it does with its weights; nothing of it stays.

        Raises:
            InputError: the forward pass changes a weight in place, or makes new parameters.
        """
        usage = self._template.watch(self._net, self.initial_weights, x)
        self._usage[self.training] = usage
        return usage

    def apart(self) -> Self:
        """The model as modules and buffers of their own, to try it; all else is shared, so that the model stays as it is."""
        model = cast(Self, self._template.apart(self, "net"))
        model.__dict__["_usage"] = dict(self._usage)
        return model

    def plain_network(self, weights: dict[str, Tensor]) -> nn.Module:
        """A copy of the network in evaluation mode, ordinary and without Pyro, that holds these weights."""
        return self._template.plain(self._net, weights)


def _as_never_run(net: nn.Module) -> None:
    """Pyro makes no module that has run a part of another: the network given may have, and its copy was traced."""
    for module in net.modules():
        if isinstance(module, PyroModule):
            module._pyro_context.used = False


def _prior_event(prior: Prior, shape: torch.Size) -> dist.TorchDistribution:
    distribution = prior(shape)
    return distribution.to_event(len(distribution.batch_shape))
