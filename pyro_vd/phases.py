"""Settings of the phases of a run: pretraining, training, pruning, fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from pyro_vd.checks import check_number, check_rate
from pyro_vd.errors import InputError
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
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.output_noise import OutputNoise, check_output_noise
from pyro_vd.schedules import KLWeight, LRSchedule

_FIT_OPTIONS = ("epochs", "batch_size", "lr", "lr_schedule", "kl_weight", "hold", "noise", "weight_decay")


@dataclass
class StepsConfig:
    """What every training has."""

    epochs: int = 0
    """Passes over the data; 0 leaves this training out."""
    batch_size: int = 100
    """Examples a step."""
    lr: float = 1e-3
    """Adam's learning rate at the start."""
    lr_schedule: LRSchedule = field(default_factory=LRSchedule)
    """Factor on the learning rate over the epochs."""

    def fit_options(self) -> dict[str, Any]:
        """What :func:`~pyro_vd.fit` takes of it, as keyword arguments."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in _FIT_OPTIONS}

    def check(self, name: str) -> None:
        """Refuse values out of range, under the recipe's key ``name``.

        Raises:
            InputError: quoting the key and the value.
        """
        check_number(f"{name}.epochs", self.epochs, low=0, whole=True)
        check_number(f"{name}.batch_size", self.batch_size, low=1, high=2**31 - 1, whole=True)
        check_number(f"{name}.lr", self.lr, low=0, low_open=True)


@dataclass
class PretrainConfig(StepsConfig):
    """The same network trained first without noise on its weights."""

    weight_decay: float = 0.0
    """L2 penalty, on the usual scale: of the loss of one example."""
    dropout: float = 0.0
    """Rate of ordinary dropout on the hidden units."""

    def check(self, name: str) -> None:
        super().check(name)
        check_number(f"{name}.weight_decay", self.weight_decay, low=0)
        check_number(f"{name}.dropout", self.dropout, low=0, high=0.99)


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
    log_sigma2: float = -10.0
    """log σ² of every weight, or unit, at the start of a guide that learns it."""
    kl_weight: KLWeight = field(default_factory=KLWeight)
    """β, the weight of the KL, over the epochs."""
    hold: float | None = None
    """Hold means at zero in the forward pass from this log α on; null holds nothing, and so does a guide that learns no α."""
    noise: OutputNoise = "position"
    """Draw the noise of a convolution's output at each position independently, or once for each example."""
    frames: int = 0
    """Frames an epoch to record for pyro-vd animate; 0 records none."""

    def __post_init__(self) -> None:
        if not self.learns_alpha:
            self.hold = None
        if self.guide not in ("group", "log-normal"):
            self.weight_noise = None

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

    def check(self, name: str) -> None:
        check_number(f"{name}.epochs", self.epochs, low=1, whole=True)
        super().check(name)
        check_rate(f"{name}.p", self.p)
        check_number(f"{name}.log_sigma2", self.log_sigma2, low=-60, high=0)
        if self.hold is not None:
            check_number(f"{name}.hold", self.hold, low=-100, high=100)
        check_output_noise(f"{name}.noise", self.noise)
        check_number(f"{name}.frames", self.frames, low=0, high=1000, whole=True)

    def build_guide(self, model: BayesianNetwork) -> WeightGuide:
        """The guide, over ``model``.

        Raises:
            InputError: guide and model do not fit.
        """
        weight_noise = {} if self.weight_noise is None else {"weight_noise": self.weight_noise}
        match self.guide:
            case "variational":
                return VariationalDropout(model, self.log_sigma2, self.per)
            case "group":
                return GroupVariationalDropout(model, self.log_sigma2, **weight_noise)
            case "log-normal":
                return LogNormalDropout(model, self.log_sigma2, **weight_noise)
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

    threshold: float = 3.0
    """Weights with log α at or above it are removed."""
    max_error_rise: float | None = None
    """If given, the threshold is instead the lowest whose validation error rises by at most this share."""
    units: list[int] | None = None
    """If given, the most inputs that each layer keeps, first layer first: those with the least log α below the threshold."""

    def __post_init__(self) -> None:
        check_number("prune.threshold", self.threshold, low=-100, high=100)
        for index, most in enumerate(self.units or []):
            check_number(f"prune.units.{index}", most, low=0, whole=True)
        if self.units is not None and self.max_error_rise is not None:
            raise InputError(
                f"prune.units (={self.units}) and prune.max_error_rise (={self.max_error_rise}) cannot both be given: numbers "
                "of units are kept whatever the error"
            )
        if self.max_error_rise is not None:
            check_number("prune.max_error_rise", self.max_error_rise, low=0, high=1)
