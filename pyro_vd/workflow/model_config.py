"""Settings of the network, its prior and its likelihood."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line
from pyro_vd.data.dataset import Arrays
from pyro_vd.distributions.priors import LogUniform, NormalARD, NormalJeffreys
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.models.likelihoods import LIKELIHOODS
from pyro_vd.models.site_priors import Prior
from pyro_vd.networks.layers import named_weights
from pyro_vd.networks.modules import Rescale, Standardize
from pyro_vd.networks.ready import mlp
from pyro_vd.workflow.named_networks import is_dotted, named_network

InitialTheta = Literal["default", "uniform-fan-out", "normal-fan-out"]

PRIORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "log-uniform": (LogUniform, {}),
    "log-uniform-exact": (LogUniform, {"kl": "exact"}),
    "ard": (NormalARD, {}),
    "normal-jeffreys": (NormalJeffreys, {}),
}
"""The types of priors, with their options."""

_RESCALED = ("normal", "student-t")
"""The likelihoods whose output is a mean in the units of the targets, and which have a scale of the noise in these units."""

AUTO = "auto"
"""Stands for a setting that follows from the data; see :func:`~pyro_vd.workflow.recipe_data.resolved`."""

if TYPE_CHECKING:  # a type checker cannot read the names from a mapping
    PriorName = str
    LikelihoodName = str
else:
    PriorName, LikelihoodName = Literal[*PRIORS], Literal[*LIKELIHOODS, AUTO]


@dataclass
class ModelConfig:
    """The network, its prior and its likelihood: a fully connected network by ``sizes``, or any other by ``class``."""

    sizes: list[int | Literal["auto"]] | None = None
    """The number of units of each layer of a fully connected network, the input first; null is [64, 100, 10], and must be null
    where there is a class. The first and the last can be auto, which takes them from the data."""
    standardize: bool = False
    """Whether a fully connected network standardizes its inputs, as learnt on the training data; this is saved with it."""
    class_: str | None = None
    """The import path of a class, or of a function that makes a network, such as pyro_vd.networks.lenet5 or
    torchvision.models.resnet18. Packages other than pyro_vd are imported only with --trust."""
    args: dict[str, Any] = field(default_factory=dict)
    """The arguments of the class, by name. shape, classes and vocabulary can be auto, which takes them from the data."""
    initial_theta: InitialTheta = "default"
    """How weights are drawn at the start: as the network does, uniformly from [-1/√n_out, 1/√n_out], or normally with standard
    deviation 1/√n_out, where n_out is the size of the weight's first dimension."""
    prior: PriorName | dict[str, PriorName] = "log-uniform"
    """The prior of the weights: log-uniform with the approximate or with the exact KL, automatic relevance determination, or,
    for the guide ``group``, normal–Jeffreys. A mapping gives it by site or pattern, of which the first that matches counts."""
    include: list[str] = field(default_factory=list)
    """Further parameters that get a prior, such as biases: their names, or patterns such as "*.bias"."""
    exclude: list[str] = field(default_factory=list)
    """Weights that get no prior, in the same form."""
    likelihood: LikelihoodName = "categorical"
    """What is observed: class labels (categorical), zeros and ones (bernoulli), or classes in an order (ordered-logistic);
    numbers with noise of a learnt scale (normal), with outliers (student-t), with a scale that the network predicts
    (heteroscedastic-normal), or from a predicted mixture (mixture-of-normals); or counts (poisson, negative-binomial). Auto is
    categorical for classes, and normal for numbers."""
    likelihood_args: dict[str, Any] = field(default_factory=dict)
    """The arguments of the likelihood, by name, such as {classes: 5} of ordered-logistic; classes can be auto."""

    def __post_init__(self) -> None:
        if self.likelihood != AUTO and AUTO not in self.likelihood_args.values():
            self._likelihood()
        if self.standardize and self.class_ is not None:
            raise InputError(name="standardize", value=True, allowed="false where there is a class")
        if self.class_ is None:
            if self.args:
                raise InputError(name="args", value=self.args, allowed="empty where there is no class")
            self._check_sizes()
        elif not is_dotted(self.class_) or "." not in self.class_:
            allowed = "an import path, such as pyro_vd.networks.lenet5"
            raise InputError(name="class", value=self.class_, allowed=allowed)
        elif self.sizes is not None:
            allowed = f"null where there is a class (={self.class_}), as with --model.sizes null"
            raise InputError(name="sizes", value=self.sizes, allowed=allowed)

    @property
    def is_open(self) -> bool:
        """Whether a setting is still to be taken from the data."""
        return AUTO in (self.likelihood, *(self.sizes or ()), *self.args.values(), *self.likelihood_args.values())

    @property
    def layers(self) -> int | None:
        """The number of layers of a fully connected network; None for a network that is named by its class."""
        return None if self.class_ is not None else len(self._given_sizes) - 1

    @property
    def _given_sizes(self) -> list[Any]:
        return [64, 100, 10] if self.sizes is None else list(self.sizes)

    @property
    def units(self) -> list[int]:
        """The number of units of each layer of a fully connected network, the input first.

        Raises:
            InputError: the first or the last is still to be taken from the data.
        """
        if AUTO in self._given_sizes:
            raise InputError(name="sizes", value=self.sizes, allowed="numbers where there are no data to take them from")
        return self._given_sizes

    def _check_sizes(self) -> None:
        if AUTO in self._given_sizes[1:-1]:
            raise InputError(
                name="sizes", value=self.sizes, allowed="numbers of units; only the first and the last can be auto"
            )
        with torch.device("meta"):
            self._fully_connected([1 if size == AUTO else size for size in self._given_sizes], 0.0)

    def _fully_connected(self, units: list[int], dropout: float) -> nn.Sequential:
        try:
            net = mlp(units, dropout)
        except (RuntimeError, TypeError) as error:
            message = f"sizes (={self.sizes!r}): a network that large does not fit into memory"
            raise InputError(message, name="sizes", value=self.sizes) from error
        return net.insert(1, Standardize(units[0])) if self.standardize else net  # after the flattening

    def _named(self, path: str, dropout: float) -> nn.Module:
        if dropout:
            allowed = "0 where the model has a class, which may have arguments for dropout of its own"
            raise InputError(name="pretrain.dropout", value=dropout, allowed=allowed)
        return named_network(path, self.args)

    def _likelihood(self, **defaults: Any) -> Likelihood:
        try:
            likelihood: Likelihood = LIKELIHOODS[self.likelihood](**{**defaults, **self.likelihood_args})
        except TypeError as error:
            allowed = f"the arguments of {LIKELIHOODS[self.likelihood].__name__}: {one_line(error)}"
            raise InputError(name="likelihood_args", value=self.likelihood_args, allowed=allowed) from error
        return likelihood

    @property
    def learns_scales(self) -> bool:
        """Whether :meth:`build` reads the training data."""
        return self.standardize or self.likelihood in _RESCALED

    def build(self, dropout: float = 0.0, train: Arrays | None = None) -> nn.Module:
        """A new network with random weights from torch's generator. It ends with a ``Rescale`` where its output is a mean.

        Args:
            dropout: the rate of ordinary dropout on the hidden units.
            train: the training data, of which a ``Standardize`` learns the inputs, and the ``Rescale`` the targets.

        Raises:
            InputError: it does not fit into memory; or see :func:`~pyro_vd.workflow.named_networks.named_network`.
        """
        net = self._fully_connected(self.units, dropout) if self.class_ is None else self._named(self.class_, dropout)
        if train is not None and self.standardize:
            for standardize in (module for module in net.modules() if isinstance(module, Standardize)):
                standardize.fit(train[0].flatten(1))
        if self.likelihood in _RESCALED:
            rescale = Rescale()
            net = net.append(rescale) if isinstance(net, nn.Sequential) else nn.Sequential(net, rescale)
            if train is not None:
                rescale.fit(train[1])
        for _, weight in named_weights(net):
            bound = 1 / math.sqrt(weight.shape[0])
            if self.initial_theta == "uniform-fan-out":
                nn.init.uniform_(weight, -bound, bound)
            elif self.initial_theta == "normal-fan-out":
                nn.init.normal_(weight, std=bound)
        return net

    def build_likelihood(self, net: nn.Module) -> Likelihood:
        """A new likelihood for a network of :meth:`build`.

        The scale of learnt noise starts at the standard deviation of the training targets.
        """
        if self.likelihood in _RESCALED:
            (rescale,) = (module for module in net.modules() if isinstance(module, Rescale))
            return self._likelihood(initial_scale=rescale.std.item())
        return self._likelihood()

    @property
    def prior_names(self) -> list[str]:
        """The types of priors that some site has."""
        return list(self.prior.values()) if isinstance(self.prior, dict) else [self.prior]

    def bayesian(self, net: nn.Module, likelihood: Likelihood) -> BayesianNetwork:
        """A Bayesian network of a network of :meth:`build`, with the priors of these settings.

        Raises:
            InputError: a pattern matches no parameter of the network, or a site has no prior.
        """
        named = self.prior if isinstance(self.prior, dict) else {"*": self.prior}
        priors: dict[str, Prior] = {pattern: partial(PRIORS[name][0], **PRIORS[name][1]) for pattern, name in named.items()}
        return BayesianNetwork(net, likelihood, prior=priors, include=self.include, exclude=self.exclude)
