"""All settings of a run, as dataclasses."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from pyro_vd._core.arguments import check_number
from pyro_vd._core.errors import InputError
from pyro_vd._core.patterns import by_pattern
from pyro_vd.data.augmentation import RandomAffine
from pyro_vd.data.loading import NAMES
from pyro_vd.guides import WeightGuide
from pyro_vd.guides import smaller as guides
from pyro_vd.models import smaller as models
from pyro_vd.training.kl_control import check_controllable
from pyro_vd.workflow.model_config import PRIORS, ModelConfig
from pyro_vd.workflow.phases import FinetuneConfig, PretrainConfig, PruneConfig, TrainConfig


@dataclass
class DataConfig:
    """The data set."""

    name: str = "digits"
    """One of digits, diabetes, mnist, fashion-mnist, cifar10 and imdb, or the path of a table (.csv or .parquet), of an .npz
    file, or of a folder with tables, images or texts."""
    dir: str | None = None
    """The torchvision root; null is $PYRO_VD_DATA, or ~/.cache/pyro_vd where that is not set."""
    validation: int | float = 0
    """How many training examples are held out for validation, or which share of them, below 1; the same for every seed."""
    target: str | None = None
    """The column of a table to predict."""
    test: int | float | None = None
    """How many rows of a table in one file are test data, or which share of them; the same for every seed. Null is a fifth."""
    drop: list[str] = field(default_factory=list)
    """Columns of a table to leave out."""

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            self.validation = check_number("validation", self.validation, low=0, whole=True)


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
        self.prune.check_highest(self.train.train_threshold, "prune.")
        guide = self.train.guide
        if not guide.learns_alpha and self.finetune.epochs:
            raise InputError(
                name="finetune.epochs",
                value=self.finetune.epochs,
                allowed=f"0 where train.guide.kind is {guide.kind!r}: it learns no α to prune by, and fine-tuning trains what "
                "pruning has left",
            )
        fitting = [name for name, (prior, _) in PRIORS.items() if prior in guide.priors]
        if unfit := [name for name in self.model.prior_names if name not in fitting]:
            raise InputError(
                name="model.prior",
                value=unfit[0],
                allowed=f"{' or '.join(fitting)} where train.guide.kind is {guide.kind!r}",
            )
        layers = self.model.layers
        if self.prune.max_inputs is not None and layers is not None and len(self.prune.max_inputs) != layers:
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
        if self.train.start_from is not None and self.pretrain.epochs:
            raise InputError(name="pretrain.epochs", value=self.pretrain.epochs, allowed="0 where train.start_from is given")
        kind = f"train.guide.kind {guide.kind!r}"
        check_controllable(self.train.kl_weight.target, kind, guide.learns_alpha, self.prune.rule(), "train.")
        if self.prune.max_error_rise is not None and self.data.validation == 0:
            raise InputError(
                f"prune.max_error_rise (={self.prune.max_error_rise}) needs validation data: set data.validation above 0",
                name="prune.max_error_rise",
                value=self.prune.max_error_rise,
            )

        for phase in ("pretrain", "train", "finetune"):
            if getattr(self, phase).restore_best and self.data.validation == 0:
                raise InputError(name=f"{phase}.restore_best", value=True, allowed="false where data.validation is 0")

    def check_sites(self, guide: WeightGuide) -> None:
        """Refuse settings by site or pattern that do not fit the sites of a guide of this recipe.

        Raises:
            InputError: a pattern matches no site, ``prune.max_inputs`` does not fit, or the network is fine-tuned with
                ``shrink`` and cannot become smaller.
        """
        for phase, given in {"train": self.train.kl_weights, "finetune": self.finetune.kl_weights}.items():
            by_pattern(f"{phase}.kl_weights", given, guide.site_names)
        if self.finetune.epochs and self.finetune.shrink:
            models.check_can_shrink(guide.model)
            guides.check_can_shrink(guide)
        if guide.learns_alpha:
            try:
                self.prune.rule().masks(guide)
            except InputError as error:
                error.args = (f"prune.{error}",)
                raise

    def from_anywhere(self) -> Recipe:
        """The same recipe with absolute paths to its data and the run it starts from, so that it holds in every directory.

        Raises:
            InputError: such a path is no text, which no file could hold.
        """
        name, root, start = self.data.name, self.data.dir, self.train.start_from
        if name not in NAMES and Path(name).exists():
            name = str(Path(name).absolute())
        data = replace(self.data, name=name, dir=root and str(Path(root).absolute()))
        train = replace(self.train, start_from=start and str(Path(start).absolute()))
        for key, path in (("data.name", data.name), ("data.dir", data.dir), ("train.start_from", train.start_from)):
            if path and path.encode("utf-8", "replace").decode() != path:
                raise InputError(name=key, value=path, allowed="a path in UTF-8, because the files of a run hold it")
        return replace(self, data=data, train=train)

    @property
    def augmentation(self) -> RandomAffine | None:
        """What changes each batch of training inputs; None where the recipe changes nothing."""
        return None if self.augment == RandomAffine() else self.augment

    def torch_device(self) -> str:
        """The name of the device, with ``auto`` resolved."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device
