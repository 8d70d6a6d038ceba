"""All settings of a run, as dataclasses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from pyro_vd._core.arguments import check_number
from pyro_vd._core.errors import InputError
from pyro_vd.data.augmentation import RandomAffine
from pyro_vd.data.loading import NAMES
from pyro_vd.distributions.priors import LogUniform, NormalARD, NormalJeffreys
from pyro_vd.models.bayesian import Prior
from pyro_vd.models.likelihoods import LIKELIHOODS, Likelihood, Normal
from pyro_vd.networks.layers import named_weights
from pyro_vd.networks.modules import Rescale
from pyro_vd.networks.ready import mlp
from pyro_vd.pruning.thresholds import highest_threshold
from pyro_vd.workflow.phases import FinetuneConfig, PretrainConfig, PruneConfig, TrainConfig

InitialTheta = Literal["default", "uniform-fan-out", "normal-fan-out"]

_PRIORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "log-uniform": (LogUniform, {}),
    "log-uniform-exact": (LogUniform, {"kl": "exact"}),
    "ard": (NormalARD, {}),
    "normal-jeffreys": (NormalJeffreys, {}),
}
"""The types of priors, with their options."""

if TYPE_CHECKING:  # a type checker cannot read the names from a mapping
    PriorName = str
    LikelihoodName = str
else:
    PriorName, LikelihoodName = Literal[*_PRIORS], Literal[*LIKELIHOODS]


@dataclass
class DataConfig:
    """The data set."""

    name: str = "digits"
    """One of digits, diabetes, mnist, fashion-mnist and cifar10, or the path of an .npz file or of a folder of images."""
    dir: str | None = None
    """The torchvision root; null is $PYRO_VD_DATA, or ~/.cache/pyro_vd where that is not set."""
    validation: int = 0
    """How many training examples are held out for validation; the same examples for every seed."""

    def __post_init__(self) -> None:
        self.validation = check_number("validation", self.validation, low=0, whole=True)


@dataclass
class ModelConfig:
    """The network, which is fully connected, its prior and its likelihood."""

    sizes: list[int] = field(default_factory=lambda: [64, 100, 10])
    """The number of units of each layer, the input first."""
    initial_theta: InitialTheta = "default"
    """How weights are drawn at the start: as PyTorch does, uniformly from [-1/√n_out, 1/√n_out], or normally with standard
    deviation 1/√n_out, where n_out is the number of outputs of the layer."""
    prior: PriorName = "log-uniform"
    """The prior of the weights: log-uniform with the approximate or with the exact KL, automatic relevance determination, or,
    for the guide ``group``, normal–Jeffreys."""

    likelihood: LikelihoodName = "categorical"
    """What is observed: class labels (categorical), numbers with noise of a learnt scale (normal), counts (poisson), or zeros
    and ones (bernoulli)."""

    def __post_init__(self) -> None:
        with torch.device("meta"):
            self._network(0.0)

    def _network(self, dropout: float) -> nn.Sequential:
        try:
            return mlp(self.sizes, dropout)
        except (RuntimeError, TypeError) as error:
            message = f"sizes (={self.sizes!r}): a network that large does not fit into memory"
            raise InputError(message, name="sizes", value=self.sizes) from error

    def build(self, dropout: float = 0.0, targets: Tensor | None = None) -> nn.Module:
        """A new network with random weights from torch's generator. With the normal likelihood it ends with a ``Rescale``.

        Args:
            dropout: the rate of ordinary dropout on the hidden units.
            targets: the training targets, which set the scale of the ``Rescale``.

        Raises:
            InputError: it does not fit into memory.
        """
        net = self._network(dropout)
        if self.likelihood == "normal":
            net.append(rescale := Rescale())
            if targets is not None:
                rescale.fit(targets)
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
        if self.likelihood == "normal":
            (rescale,) = (module for module in net.modules() if isinstance(module, Rescale))
            return Normal(initial_scale=rescale.std.item())
        likelihood: Likelihood = LIKELIHOODS[self.likelihood]()
        return likelihood

    def weight_prior(self) -> Prior:
        """The prior, as a function of a weight's shape."""
        prior, options = _PRIORS[self.prior]
        return partial(prior, **options)


@dataclass
class Recipe:
    """A run: pretraining, training with noise on weights or units, pruning, fine-tuning, and measuring on the test data."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    augment: RandomAffine = field(default_factory=RandomAffine)
    """Random changes of the training images, in every phase; where all are 0 the images are not changed."""
    seed: int = 0
    """The seed of everything that is random."""
    device: str = "auto"
    """The device: cpu, cuda, cuda:1, mps, …; auto is cuda where there is one, and otherwise cpu."""
    threads: int = 1
    """The CPU threads of torch. More than one makes small networks slower, much slower where other programs run."""

    def __post_init__(self) -> None:
        self.seed = check_number("seed", self.seed, low=0, high=2**32 - 1, whole=True)
        self.threads = check_number("threads", self.threads, low=1, high=1024, whole=True)
        if self.prune.threshold > highest_threshold(self.train.train_threshold):
            raise InputError(
                name="prune.threshold",
                value=self.prune.threshold,
                allowed=f"at most train.train_threshold (={self.train.train_threshold}): weights beyond that were held at zero",
            )
        guide = self.train.guide
        if not guide.learns_alpha and self.finetune.epochs:
            raise InputError(
                name="finetune.epochs",
                value=self.finetune.epochs,
                allowed=f"0 where train.guide.kind is {guide.kind!r}: it learns no α to prune by, and fine-tuning trains what "
                "pruning has left",
            )
        fitting = [name for name, (prior, _) in _PRIORS.items() if prior in guide.priors]
        if self.model.prior not in fitting:
            raise InputError(
                name="model.prior",
                value=self.model.prior,
                allowed=f"{' or '.join(fitting)} where train.guide.kind is {guide.kind!r}",
            )
        layers = len(self.model.sizes) - 1
        if self.prune.max_inputs is not None and len(self.prune.max_inputs) != layers:
            raise InputError(
                name="prune.max_inputs",
                value=self.prune.max_inputs,
                allowed=f"one number for each of the {layers} layers of model.sizes",
            )
        if self.prune.max_inputs is not None and not guide.ranks_inputs:
            raise InputError(
                name="prune.max_inputs",
                value=self.prune.max_inputs,
                allowed=f"null with train.guide {guide}: no α is learnt that differs between the inputs of a layer",
            )
        if self.prune.max_error_rise is not None and self.data.validation == 0:
            raise InputError(
                f"prune.max_error_rise (={self.prune.max_error_rise}) needs validation data: set data.validation above 0",
                name="prune.max_error_rise",
                value=self.prune.max_error_rise,
            )

    def from_anywhere(self) -> Recipe:
        """The same recipe with absolute paths to its data, so that it holds in every working directory."""
        name, root = self.data.name, self.data.dir
        if name not in NAMES and Path(name).exists():
            name = str(Path(name).absolute())
        return replace(self, data=replace(self.data, name=name, dir=root and str(Path(root).absolute())))

    def torch_device(self) -> str:
        """The name of the device, with ``auto`` resolved."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device
