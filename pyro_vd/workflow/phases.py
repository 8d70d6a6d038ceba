"""Settings of the phases of a run: pretraining, training, pruning, fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from pyro_vd._core.arguments import HIGHEST_LR, LARGEST, check_number, check_numbers, check_rate
from pyro_vd._core.errors import InputError
from pyro_vd.guides import (
    BernoulliDropout,
    GaussianDropout,
    GroupVariationalDropout,
    LogNormalDropout,
    PointEstimate,
    VariationalDropout,
)
from pyro_vd.guides.variational_dropout import Sharing
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.output_noise import OutputNoise, check_output_noise
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.pruning.rule import PruningRule
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD, check_threshold
from pyro_vd.training.schedules import KLWeight, LRSchedule

_FIT_OPTIONS = ("epochs", "batch_size", "lr", "lr_schedule", "kl_weight", "train_threshold", "noise", "weight_decay")


@dataclass
class StepsConfig:
    """What every training has."""

    epochs: int = 0
    """Passes over the data; 0 leaves this training out."""
    batch_size: int = 100
    """Examples per step."""
    lr: float = 1e-3
    """Adam's learning rate at the start."""
    lr_schedule: LRSchedule = field(default_factory=LRSchedule)
    """Factor on the learning rate over the epochs."""

    def fit_options(self) -> dict[str, Any]:
        """What :func:`~pyro_vd.fit` takes of it, as keyword arguments."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in _FIT_OPTIONS}

    _fewest: ClassVar[int] = 0

    def __post_init__(self) -> None:
        self.epochs = check_number("epochs", self.epochs, low=self._fewest, high=LARGEST, whole=True)
        self.batch_size = check_number("batch_size", self.batch_size, low=1, high=LARGEST, whole=True)
        self.lr = check_number("lr", self.lr, low=0, high=HIGHEST_LR, low_open=True)


@dataclass
class PretrainConfig(StepsConfig):
    """The same network trained first without noise on its weights."""

    weight_decay: float = 0.0
    """L2 penalty, on the usual scale: of the loss of one example."""
    dropout: float = 0.0
    """Rate of ordinary dropout on the hidden units."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.weight_decay = check_number("weight_decay", self.weight_decay, low=0, high=HIGHEST_LR)
        self.dropout = check_number("dropout", self.dropout, low=0, high=0.99)


@dataclass
class TrainConfig(StepsConfig):
    """The training with noise on the weights, by default variational dropout."""

    epochs: int = 100
    """Passes over the data, at least 1."""
    guide: Literal["variational", "group", "log-normal", "gaussian", "gaussian-unit", "bernoulli", "none"] = "variational"
    """Variational dropout; of whole units, group variational dropout or log-normal noise; Gaussian dropout on weights or on
    units; Bernoulli dropout; or no noise at all."""
    p: float = 0.5
    """Rate of Gaussian and Bernoulli dropout."""
    per: Sharing = "weight"
    """Which weights share an α in variational dropout: each its own, a row, a column or a layer."""
    weight_noise: bool | None = None
    """Whether weights have noise of their own as well, with group or log-normal; null as the guide has it, with and without."""
    log_sigma2: float | None = None
    """log σ² of every weight, or unit, at the start of a guide that learns it; null as the guide has it: variational −10, group
    and log-normal −8."""
    kl_weight: KLWeight = field(default_factory=KLWeight)
    """β, the weight of the KL, over the epochs."""
    train_threshold: float | None = None
    """Hold means at zero in the forward pass from this log α on, with a guide that learns α; null holds nothing."""
    noise: OutputNoise = "position"
    """Draw the noise of a convolution's output at each position independently, or once for each example."""
    frames: int = 0
    """Frames an epoch to record for pyro-vd animate; 0 records none."""

    _fewest: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.p = check_rate("p", self.p)
        if self.log_sigma2 is not None:
            self.log_sigma2 = check_number("log_sigma2", self.log_sigma2, low=-60, high=0)
        check_output_noise("noise", self.noise)
        self.frames = check_number("frames", self.frames, low=0, high=1000, whole=True)
        if self.train_threshold is not None:
            self.train_threshold = check_number("train_threshold", self.train_threshold, low=-100, high=100)
        for name, value, guides in (
            ("train_threshold", self.train_threshold, ("variational", "group", "log-normal")),
            ("weight_noise", self.weight_noise, ("group", "log-normal")),
        ):
            if value is not None and self.guide not in guides:
                raise InputError(
                    name=name, value=value, allowed=f"null where guide is {self.guide!r}; it is for {', '.join(guides)}"
                )

    @property
    def learns_alpha(self) -> bool:
        """Whether the guide learns log α, so that it can prune."""
        return self.guide in ("variational", "group", "log-normal")

    @property
    def ranks_inputs(self) -> bool:
        """Whether the guide learns which inputs of a layer matter more than others."""
        return self.learns_alpha and not (self.guide == "variational" and self.per in ("row", "layer"))

    @property
    def priors(self) -> tuple[str, ...]:
        """What ``model.prior`` may be with the guide."""
        match self.guide:
            case "group":
                return ("normal-jeffreys",)
            case "log-normal" | "gaussian-unit" | "bernoulli":
                return ("log-uniform", "log-uniform-exact")
            case _:
                return ("log-uniform", "log-uniform-exact", "ard")

    def build_guide(self, model: BayesianNetwork) -> WeightGuide:
        """The guide, over ``model``.

        Raises:
            InputError: guide and model do not fit.
        """
        given: dict[str, Any] = {"log_sigma2": self.log_sigma2, "weight_noise": self.weight_noise}
        given = {name: value for name, value in given.items() if value is not None}
        match self.guide:
            case "variational":
                return VariationalDropout(model, per=self.per, **given)
            case "group":
                return GroupVariationalDropout(model, **given)
            case "log-normal":
                return LogNormalDropout(model, **given)
            case "gaussian":
                return GaussianDropout(model, self.p)
            case "gaussian-unit":
                return GaussianDropout(model, self.p, per="unit")
            case "bernoulli":
                return BernoulliDropout(model, self.p)
            case "none":
                return PointEstimate(model)


@dataclass
class FinetuneConfig(StepsConfig):
    """Training on, with the same noise, of the weights that pruning has left."""

    kl_weight: KLWeight = field(default_factory=KLWeight)
    """β, the weight of the KL, over the epochs."""


@dataclass
class PruneConfig:
    """What is removed."""

    threshold: float = DEFAULT_THRESHOLD
    """Weights with log α at or above it are removed."""
    max_error_rise: float | None = None
    """If given, the threshold is instead the lowest whose validation error rises by at most this share."""
    max_inputs: list[int] | None = None
    """If given, the most inputs that each layer keeps, first layer first: those with the least log α below the threshold."""

    def __post_init__(self) -> None:
        self.threshold = check_number("threshold", check_threshold(self.threshold), low=-100, high=100)
        if self.max_inputs is not None:
            self.max_inputs = check_numbers("max_inputs", self.max_inputs, low=0, high=LARGEST)
        if self.max_inputs is not None and self.max_error_rise is not None:
            raise InputError(
                f"max_inputs (={self.max_inputs}) and max_error_rise (={self.max_error_rise}) cannot both be given: so many "
                "inputs are kept whatever the error"
            )
        if self.max_error_rise is not None:
            self.max_error_rise = check_number("max_error_rise", self.max_error_rise, low=0, high=1)

    def rule(self) -> PruningRule:
        """The rule with the threshold as it is here, before one is chosen on validation data."""
        return PruningRule(self.threshold, self.max_inputs)
