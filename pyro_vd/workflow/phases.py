"""Settings of the phases of a run: pretraining, training, pruning, fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from pyro_vd._core.arguments import LARGEST, check_number, check_numbers
from pyro_vd._core.errors import InputError
from pyro_vd.data.batches import DEFAULT_BATCH_SIZE
from pyro_vd.guides import GuideSettings, VariationalDropoutSettings
from pyro_vd.inference.output_noise import OutputNoise
from pyro_vd.networks.precision import Precision
from pyro_vd.pruning.rule import PruningRule
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD, Threshold, check_threshold, highest_threshold
from pyro_vd.training.optimizer import DEFAULT_LR
from pyro_vd.training.schedules import KLWeight, LRSchedule
from pyro_vd.training.spec import TrainingSpec

_OF_TRAINING = frozenset(each.name for each in fields(TrainingSpec))


@dataclass
class StepsConfig:
    """The settings that every phase of training has."""

    epochs: int = 0
    """Passes over the data; 0 skips this phase."""
    batch_size: int = DEFAULT_BATCH_SIZE
    """Examples per step."""
    lr: float = DEFAULT_LR
    """The learning rate at the start."""
    lr_schedule: LRSchedule = field(default_factory=LRSchedule)
    """The factor on the learning rate over the epochs."""
    optimizer: str | None = None
    """The name of a class of torch.optim, such as AdamW; null is Adam."""
    max_grad_norm: float | None = None
    """The largest norm of the gradient of the loss of one example; null is no limit."""
    accumulate: int = 1
    """Batches per update of the parameters."""
    precision: Precision = "full"
    """The precision of the network's forward pass; bf16-mixed runs it under autocast to bfloat16."""
    restore_best: bool = False
    """Whether to keep the epoch with the best validation score, from the end of the KL warm-up on, and not the last one."""

    def fit_options(self) -> dict[str, Any]:
        """These settings as keyword arguments of :func:`~pyro_vd.fit`."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in _OF_TRAINING}

    _fewest: ClassVar[int] = 0

    def __post_init__(self) -> None:
        self.epochs = check_number("epochs", self.epochs, low=self._fewest, high=LARGEST, whole=True)
        spec = TrainingSpec(**self.fit_options() | {"epochs": max(1, self.epochs)})  # its ranges hold here too
        for name in self.fit_options().keys() - {"epochs"}:
            setattr(self, name, getattr(spec, name))
        self.batch_size = spec.batch_size or DEFAULT_BATCH_SIZE


@dataclass
class PretrainConfig(StepsConfig):
    """Pretraining: the same network is first trained without noise on its weights."""

    weight_decay: float = TrainingSpec.weight_decay
    """The L2 penalty, relative to the mean loss per example, as usual."""
    dropout: float = 0.0
    """The rate of ordinary dropout on the hidden units."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dropout = check_number("dropout", self.dropout, low=0, high=0.99)


@dataclass
class TrainConfig(StepsConfig):
    """Training with noise on the weights, by default variational dropout."""

    epochs: int = 100
    """Passes over the data, at least 1."""
    guide: GuideSettings = field(default_factory=VariationalDropoutSettings)
    """The guide, which is what is learnt about the weights: its kind and its parameters."""
    kl_weight: KLWeight = field(default_factory=KLWeight)
    """β, the weight of the KL, over the epochs."""
    kl_weights: dict[str, float] = field(default_factory=dict)
    """Factors on β of single sites, by name or pattern such as "embedding.*"; of several that match, the first counts."""
    train_threshold: float | None = TrainingSpec.train_threshold
    """Hold means with log α at or above this threshold at zero in the forward pass; null holds none. The guide must learn α."""
    noise: OutputNoise = TrainingSpec.noise
    """Whether the noise of a convolution's output is drawn for each position independently, or once per example."""
    shrink: bool = TrainingSpec.shrink
    """Whether inputs and units whose weights stay beyond the threshold are removed for good, so that epochs become cheaper."""
    compile: bool = TrainingSpec.compile
    """Whether the step is compiled by torch.compile, which takes up to a minute before the first epoch."""
    start_from: str | None = None
    """The folder of a finished run with the same data, network and guide: training starts with what it learnt before its
    fine-tuning, without the weights that it pruned. Null starts anew."""
    frames: int = 0
    """Frames to record per epoch, for pyro-vd animate; 0 records none."""

    _fewest: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.guide, GuideSettings):
            raise InputError(
                name="guide", value=self.guide, allowed="settings of a guide, such as VariationalDropoutSettings()"
            )
        self.frames = check_number("frames", self.frames, low=0, high=1000, whole=True)
        if self.shrink and not self.guide.learns_alpha:
            allowed = f"false where guide.kind is {self.guide.kind!r}, which learns no α to remove weights by"
            raise InputError(name="shrink", value=self.shrink, allowed=allowed)
        if self.train_threshold is not None and not self.guide.learns_alpha:
            raise InputError(
                name="train_threshold",
                value=self.train_threshold,
                allowed=f"null where guide.kind is {self.guide.kind!r}, which learns no α to hold means by",
            )


@dataclass
class FinetuneConfig(StepsConfig):
    """Fine-tuning: the weights that are left after pruning are trained further, with the same noise."""

    kl_weight: KLWeight = field(default_factory=KLWeight)
    """β, the weight of the KL, over the epochs."""
    kl_weights: dict[str, float] = field(default_factory=dict)
    """Factors on β of single sites, by name or pattern such as "embedding.*"; of several that match, the first counts."""
    shrink: bool = TrainingSpec.shrink
    """Whether units that pruning has left without a weight are removed for good: epochs become cheaper."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (target := self.kl_weight.target) is not None:
            raise InputError(name="kl_weight.target", value=target, allowed="null: fine-tuning removes no more weights")


@dataclass
class PruneConfig:
    """Pruning: which weights are removed."""

    threshold: float = DEFAULT_THRESHOLD
    """Weights with log α at or above it are removed."""
    max_error_rise: float | None = None
    """If given, the threshold is instead the lowest whose validation error rises by at most this share."""
    thresholds: dict[str, float] = field(default_factory=dict)
    """Thresholds of single sites, by name or pattern such as "embedding.*", in place of the threshold; the first counts."""
    max_inputs: list[int] | None = None
    """If given, the most inputs that each layer keeps, first layer first: those with the least log α below the threshold."""

    def __post_init__(self) -> None:
        checked = {name: check_number(name, check_threshold(value, name), low=-100, high=100) for name, value in self._named()}
        self.threshold = checked.pop("threshold")
        self.thresholds = dict(zip(self.thresholds, checked.values(), strict=True))
        if self.max_inputs is not None:
            self.max_inputs = check_numbers("max_inputs", self.max_inputs, low=0, high=LARGEST)
        if self.max_inputs is not None and self.max_error_rise is not None:
            raise InputError(
                f"max_inputs (={self.max_inputs}) and max_error_rise (={self.max_error_rise}) cannot both be given: so many "
                "inputs are kept whatever the error",
                name="max_inputs",
                value=self.max_inputs,
            )
        if self.thresholds and self.max_error_rise is not None:
            raise InputError(
                f"thresholds (={self.thresholds}) and max_error_rise (={self.max_error_rise}) cannot both be given: one "
                "threshold for all sites is chosen",
                name="thresholds",
                value=self.thresholds,
            )
        if self.max_error_rise is not None:
            self.max_error_rise = check_number("max_error_rise", self.max_error_rise, low=0, high=1)

    def _named(self) -> list[tuple[str, float]]:
        """The thresholds with the keys that messages call them by."""
        return [("threshold", self.threshold), *((f"thresholds.{site}", value) for site, value in self.thresholds.items())]

    def check_highest(self, train_threshold: float | None, where: str = "") -> None:
        """Refuse thresholds above the one from which training held means at zero.

        Args:
            train_threshold: that one, or None.
            where: the key of these settings, for messages.

        Raises:
            InputError: naming the first threshold that is too high.
        """
        for name, value in self._named():
            if value > highest_threshold(train_threshold):
                allowed = f"at most train.train_threshold (={train_threshold}): weights beyond that were held at zero"
                raise InputError(name=where + name, value=value, allowed=allowed)

    def rule(self, threshold: Threshold | None = None) -> PruningRule:
        """The rule of these settings.

        Args:
            threshold: the threshold that was chosen on validation data; None for the one that is given here.
        """
        return PruningRule(self.threshold if threshold is None else threshold, self.max_inputs, self.thresholds)
