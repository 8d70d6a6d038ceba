"""The settings of a training: everything that determines its result, beside the data, the model and the guide."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from pyro_vd._core.arguments import HIGHEST_LR, LARGEST, check_choice, check_flag, check_number, take
from pyro_vd._core.errors import InputError
from pyro_vd.data.batches import Batches, TensorBatches
from pyro_vd.data.examples import ExampleBatches
from pyro_vd.data.pairs import check_target
from pyro_vd.guides.checks import check_train_threshold
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.inference.kl_weights import check_kl_weights
from pyro_vd.inference.output_noise import OutputNoise, check_output_noise
from pyro_vd.networks.precision import PRECISIONS, Precision
from pyro_vd.pruning.rule import PruningRule, rule_of
from pyro_vd.training.identity import identity, pair_identity
from pyro_vd.training.optimizer import OptimizerFactory, check_optimizer
from pyro_vd.training.scheduler import SchedulerFactory
from pyro_vd.training.schedules import KLWeight, LRSchedule, check_schedules

Augmentation = Callable[[Any], Any]
"""Changes a batch of training inputs at random; several inputs are given and returned in their form."""


@dataclass(frozen=True)
class TrainingSpec:
    """The settings of a training; :func:`~pyro_vd.fit` takes them as this object or each as a keyword argument.

    Raises:
        InputError: a setting out of range.
    """

    epochs: int
    """Passes over the data, at least 1."""
    batch_size: int | None = None
    """Examples per step, at least 1; None is 100, and leaves loaders and :class:`~pyro_vd.data.Batches` theirs. A last smaller
    batch is trained on as well."""
    num_examples: int | None = None
    """N of a loader or stream, where it does not say how many examples there are; see :class:`~pyro_vd.data.LoaderBatches`."""
    steps_per_epoch: int | None = None
    """Batches per epoch of a loader or stream, which then goes on over epochs; None is one pass."""
    target: str | None = None
    """Key of the observations in a batch or example that is a mapping; None is "target", or "labels"."""
    lr: float | None = None
    """Learning rate at the start, > 0; None is the optimizer's own, 0.001 for Adam."""
    lr_schedule: LRSchedule = field(default_factory=LRSchedule)
    """Factor on the learning rate over the epochs; None is a constant one."""
    optimizer: OptimizerFactory | str | None = None
    """None is Adam. Else a class of ``torch.optim`` or its name, a ``functools.partial`` of one, or a function that is called
    with up to three groups of parameters, mappings with the keys ``params``, ``lr`` where one is given, and ``name``: "theta",
    the means; "log_variance", log σ² or log α; "plain", all others. The gradient is that of the loss of all N examples."""
    scheduler: SchedulerFactory | None = None
    """Makes a scheduler of ``torch.optim.lr_scheduler`` of the optimizer, in place of ``lr_schedule``, such as
    ``functools.partial(CosineAnnealingLR, T_max=100)``. ``ReduceLROnPlateau`` is given the validation score."""
    scheduler_interval: Literal["epoch", "step"] = "epoch"
    """Whether the scheduler takes a step after every "epoch", or after every "step", that is every update of the parameters."""
    max_grad_norm: float | None = None
    """Largest L2 norm > 0 of the gradient of the loss of one example, the usual scale, over all parameters; longer gradients
    are scaled to it. None is no limit."""
    accumulate: int = 1
    """Batches per update of the parameters, at least 1. The gradient is that of one batch of all their examples; what is left
    at the end of an epoch makes an update."""
    kl_weight: KLWeight = field(default_factory=KLWeight)
    """β, the weight of the KL: its warm-up over the epochs, or a number."""
    kl_weights: Mapping[str, float] = field(default_factory=dict)
    """Factors on β of single sites, by name or pattern, of which the first that matches a site counts."""
    train_threshold: float | None = None
    """Value of log α at or above which means are held at zero in the forward pass, with a guide that learns log α; the guide
    keeps it, see :attr:`~pyro_vd.guides.WeightGuide.train_threshold`. None holds nothing, or, with a target of ``kl_weight``,
    those beyond the threshold of ``rule``, of several the highest: without that, weights go and come back, and with them the
    compression."""
    noise: OutputNoise = "position"
    """Where a weight serves several positions of an example: draw the noise of its output at each "position" independently, as
    in the paper, or once for each "example"."""
    weight_decay: float = 0.0
    """λ ≥ 0 of an L2 penalty ½λ‖·‖² on the loss of one example, the usual scale; meant for guides without a KL. The parameters
    of the likelihood have none."""
    num_particles: int = 1
    """Draws of the noise per step, at least 1; their losses are averaged."""
    augment: Augmentation | None = None
    """Changes each batch of training inputs at random, such as :class:`~pyro_vd.data.RandomAffine`. Where a checkpoint is
    written it must be a function, or an object of plain values; see :func:`~pyro_vd.training.identity.identity`."""
    rule: PruningRule = field(default_factory=PruningRule)
    """What the score and the compression of each epoch take as pruned: a rule, or a threshold on log α."""
    restore_best: bool = False
    """Whether the model and the guide are, at the end, those of the epoch with the best validation score, of those from the end
    of the KL warm-up on. Otherwise they are those of the last epoch."""
    shrink: bool = False
    """Whether inputs and units of which all weights stay beyond the threshold are removed for good during the training, whose
    steps become cheaper; see :func:`~pyro_vd.fit`."""
    precision: Precision = "full"
    """Precision of the network's forward pass. "bf16-mixed" runs it under autocast to bfloat16, for devices where that is
    faster, products with σ² included; parameters, noise, likelihood and KL stay float32, and scores are measured in float32."""
    compile: bool = False
    """Whether the step is compiled by ``torch.compile``; see :func:`~pyro_vd.fit`."""
    phase: str = "train"
    """Name of this training in the log and beside the progress bar."""

    def __post_init__(self) -> None:
        take(self, "epochs", check_number("epochs", self.epochs, low=1, high=LARGEST, whole=True))
        for name in ("batch_size", "num_examples", "steps_per_epoch"):
            if (number := getattr(self, name)) is not None:
                take(self, name, check_number(name, number, low=1, high=LARGEST, whole=True))
        check_target(self.target)
        for name in ("lr", "max_grad_norm"):
            if (number := getattr(self, name)) is not None:
                take(self, name, check_number(name, number, low=0, high=HIGHEST_LR, low_open=True))
        take(self, "weight_decay", check_number("weight_decay", self.weight_decay, low=0, high=HIGHEST_LR))
        take(self, "num_particles", check_number("num_particles", self.num_particles, low=1, high=LARGEST, whole=True))
        take(self, "accumulate", check_number("accumulate", self.accumulate, low=1, high=LARGEST, whole=True))
        take(self, "train_threshold", check_train_threshold(self.train_threshold))
        lr_schedule, kl_weight = check_schedules(self.lr_schedule, self.kl_weight)
        for name, value in {"lr_schedule": lr_schedule, "kl_weight": kl_weight, "rule": rule_of(self.rule)}.items():
            take(self, name, value)
        kl_weight.check_time(self.epochs)
        check_optimizer(self.optimizer, self.lr, self.weight_decay)
        self._check_scheduler()
        take(self, "kl_weights", check_kl_weights(self.kl_weights))
        check_output_noise("noise", self.noise)
        check_choice("precision", self.precision, PRECISIONS)
        for name in ("restore_best", "shrink", "compile"):
            take(self, name, check_flag(name, getattr(self, name)))
        if self.augment is not None and not callable(self.augment):
            raise InputError(name="augment", value=self.augment, allowed="a function or None")
        if not isinstance(self.phase, str):
            raise InputError(name="phase", value=self.phase, allowed="text")

    def held(self, sites: Sequence[str]) -> float | None:
        """The value of log α at or above which means of these sites are held at zero, if any are.

        With thresholds of single sites it is the highest of them, so that nothing is held that pruning would keep.
        """
        if self.train_threshold is not None or self.kl_weight.target is None:
            return self.train_threshold
        return max(self.rule.site_thresholds(sites).values())

    def _check_scheduler(self) -> None:
        check_choice("scheduler_interval", self.scheduler_interval, ("epoch", "step"))
        if self.scheduler is None:
            return
        if not callable(self.scheduler):
            raise InputError(name="scheduler", value=self.scheduler, allowed="a function of an optimizer, or None")
        if self.lr_schedule != LRSchedule():
            raise InputError(
                name="lr_schedule",
                value=self.lr_schedule,
                allowed="left out where a scheduler is given: both set the learning rate",
            )

    def fingerprint(self, guide: WeightGuide, batches: Batches, strict: bool = True) -> dict[str, Any]:
        """Identify a training by plain values: a checkpoint of a training with other ones is refused.

        Args:
            guide: the guide, with its model.
            batches: the batches.
            strict: otherwise functions and objects without an identity are left out.

        Raises:
            InputError: a function, prior or likelihood has no identity but its address; see
                :func:`~pyro_vd.training.identity.identity`.
        """
        functions = ("lr_schedule", "kl_weight", "augment", "optimizer", "scheduler")
        settings: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in functions}
        settings |= {"kl_weights": list(self.kl_weights.items())}  # their order counts
        settings |= {"rule": asdict(self.rule), "num_data": batches.num_examples}
        cut_here = type(batches) is TensorBatches or type(batches) is ExampleBatches
        settings |= {"batch_size": getattr(batches, "batch_size", None) if cut_here else None}
        identities = [lambda name=name: {name: identity(name, getattr(self, name))} for name in functions]
        for make in (*identities, lambda: pair_identity(guide)):
            try:
                settings |= make()
            except InputError:
                if strict:
                    raise
        return {**settings, "data": batches.fingerprint()}
