"""Recipes: all settings of a run as dataclasses, read from YAML by the command line."""

from __future__ import annotations

import math
from argparse import ArgumentError
from dataclasses import dataclass, field, fields
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from torch import nn

from pyro_vd.checks import check_number
from pyro_vd.distributions import LogUniform, NormalARD
from pyro_vd.errors import InputError
from pyro_vd.messages import parsing_message
from pyro_vd.models.bayesian import Prior
from pyro_vd.networks import mlp, named_weights
from pyro_vd.schedules import KLWeight, LRSchedule

_PRIORS: dict[str, Prior] = {
    "log-uniform": LogUniform,
    "log-uniform-exact": partial(LogUniform, kl="exact"),
    "ard": NormalARD,
}


@dataclass
class DataConfig:
    """What is learnt from."""

    name: str = "digits"
    """digits, mnist, fashion-mnist, cifar10, an .npz file or a folder of images."""
    dir: str | None = None
    """Torchvision root; by default $PYRO_VD_DATA, then ~/.cache/pyro_vd."""
    validation: int = 0
    """Training examples held out to choose by; the same for every seed."""

    def __post_init__(self) -> None:
        check_number("data.validation", self.validation, low=0, whole=True)


@dataclass
class ModelConfig:
    """The network, fully connected."""

    sizes: list[int] = field(default_factory=lambda: [64, 100, 10])
    """Units a layer, input first."""
    initial_theta: Literal["default", "uniform-fan-out", "normal-fan-out"] = "default"
    """PyTorch's own, U[-1/√n_out, 1/√n_out], or N(0, std 1/√n_out)."""
    prior: Literal["log-uniform", "log-uniform-exact", "ard"] = "log-uniform"
    """Prior of the weights: log-uniform with the approximate or the exact KL, or automatic relevance determination."""

    def __post_init__(self) -> None:
        with torch.device("meta"):
            self._network(0.0)

    def _network(self, dropout: float) -> nn.Module:
        try:
            return mlp(self.sizes, dropout)
        except (RuntimeError, TypeError) as error:
            raise InputError(f"model.sizes (={self.sizes!r}): a network that large does not fit into memory") from error

    def build(self, dropout: float = 0.0) -> nn.Module:
        """A new network, drawn from torch's generator.

        Raises:
            InputError: it does not fit into memory.
        """
        net = self._network(dropout)
        for _, weight in named_weights(net):
            bound = 1 / math.sqrt(weight.shape[0])
            if self.initial_theta == "uniform-fan-out":
                nn.init.uniform_(weight, -bound, bound)
            elif self.initial_theta == "normal-fan-out":
                nn.init.normal_(weight, std=bound)
        return net

    def weight_prior(self) -> Prior:
        """The prior, by a weight's shape."""
        return _PRIORS[self.prior]


@dataclass
class PretrainConfig:
    """The same network trained first without noise on its weights."""

    epochs: int = 0
    """Passes over the data; 0 leaves this training out."""
    batch_size: int = 100
    """Examples a step."""
    lr: float = 1e-3
    """Adam's learning rate at the start."""
    lr_schedule: LRSchedule = field(default_factory=LRSchedule)
    """Factor on the learning rate over the epochs."""
    weight_decay: float = 0.0
    """Adam's L2 penalty."""
    dropout: float = 0.0
    """Rate of ordinary dropout on the hidden units."""

    def __post_init__(self) -> None:
        check_number("pretrain.epochs", self.epochs, low=0, whole=True)
        _check_steps("pretrain", self.batch_size, self.lr)
        check_number("pretrain.weight_decay", self.weight_decay, low=0)
        check_number("pretrain.dropout", self.dropout, low=0, high=0.99)


@dataclass
class VariationalConfig:
    """The training with variational dropout."""

    epochs: int = 100
    """Passes over the data, at least 1."""
    batch_size: int = 100
    """Examples a step."""
    lr: float = 1e-3
    """Adam's learning rate at the start."""
    lr_schedule: LRSchedule = field(default_factory=LRSchedule)
    """Factor on the learning rate over the epochs."""
    log_sigma2: float = -10.0
    """log σ² of every weight at the start."""
    kl_weight: KLWeight = field(default_factory=KLWeight)
    """β, the weight of the KL, over the epochs."""
    hold: float | None = None
    """Hold means at zero in the forward pass from this log α on; null holds nothing."""

    def __post_init__(self) -> None:
        check_number("train.epochs", self.epochs, low=1, whole=True)
        _check_steps("train", self.batch_size, self.lr)
        check_number("train.log_sigma2", self.log_sigma2, low=-60, high=0)
        if self.hold is not None:
            check_number("train.hold", self.hold, low=-100, high=100)


@dataclass
class FinetuneConfig:
    """Training on, with variational dropout, of the weights that pruning has left."""

    epochs: int = 0
    """Passes over the data; 0 leaves this training out."""
    batch_size: int = 100
    """Examples a step."""
    lr: float = 1e-3
    """Adam's learning rate at the start."""
    lr_schedule: LRSchedule = field(default_factory=LRSchedule)
    """Factor on the learning rate over the epochs."""
    kl_weight: KLWeight = field(default_factory=KLWeight)
    """β, the weight of the KL, over the epochs."""

    def __post_init__(self) -> None:
        check_number("finetune.epochs", self.epochs, low=0, whole=True)
        _check_steps("finetune", self.batch_size, self.lr)


@dataclass
class PruneConfig:
    """What is removed."""

    threshold: float = 3.0
    """Weights with log α at or above it are removed."""
    max_error_rise: float | None = None
    """If given, the threshold is instead the lowest whose validation error rises by at most this share."""

    def __post_init__(self) -> None:
        check_number("prune.threshold", self.threshold, low=-100, high=100)
        if self.max_error_rise is not None:
            check_number("prune.max_error_rise", self.max_error_rise, low=0, high=1)


@dataclass
class Recipe:
    """A whole run: pretrain, train with variational dropout, prune, fine-tune, measure on the test data."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    train: VariationalConfig = field(default_factory=VariationalConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    seed: int = 0
    """Of everything that is random."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps, …; auto takes cuda where there is one."""

    def __post_init__(self) -> None:
        check_number("seed", self.seed, low=0, high=2**32 - 1, whole=True)
        if self.prune.max_error_rise is not None and self.data.validation == 0:
            raise InputError(
                f"prune.max_error_rise (={self.prune.max_error_rise}) needs validation data: set data.validation above 0"
            )

    def torch_device(self) -> str:
        """The device's name, ``auto`` resolved."""
        if self.device == "auto":
            return "cuda" if torch.cuda.is_available() else "cpu"
        return self.device


def _check_steps(name: str, batch_size: int, lr: float) -> None:
    check_number(f"{name}.batch_size", batch_size, low=1, high=2**31 - 1, whole=True)
    check_number(f"{name}.lr", lr, low=0, low_open=True)


def recipes() -> dict[str, tuple[Path, str]]:
    """Built-in recipes by name: file, and the description in its first line."""
    folder = Path(str(resources.files("pyro_vd.runs")))
    return {path.stem: (path, path.read_text().splitlines()[0].lstrip("# ")) for path in sorted(folder.glob("*.yaml"))}


def recipe_path(name: str) -> Path:
    """The file of a built-in recipe, or the path itself if it is a YAML file.

    Raises:
        InputError: neither.
    """
    built_in = recipes()
    if name in built_in:
        return built_in[name][0]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") and path.is_file():
        return path
    raise InputError(f"recipe (={name!r}) must be one of {', '.join(built_in)}, or the path of a .yaml file that exists")


def add_recipe_arguments(parser: ArgumentParser) -> None:
    """Give a parser an option for every key of :class:`Recipe`."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser.add_class_arguments(Recipe, as_group=False)


def recipe_from(parser: ArgumentParser, values: Namespace) -> Recipe:
    """The recipe among the parsed values of a parser that has its options.

    Raises:
        InputError: a value out of range.
    """
    instances = parser.instantiate(values)
    return Recipe(**{field.name: instances[field.name] for field in fields(Recipe)})


def parse_recipe(content: dict[str, Any]) -> Recipe:
    """A recipe from the plain contents of a YAML file.

    Raises:
        InputError: an unknown key, a wrong type, or a value out of range.
    """
    parser = ArgumentParser(exit_on_error=False)
    add_recipe_arguments(parser)
    try:
        return recipe_from(parser, parser.parse_object(content))
    except ArgumentError as error:
        raise InputError(f"recipe: {parsing_message(error)}") from error


def read_recipe(name: str) -> dict[str, Any]:
    """The plain contents of a built-in recipe, or of a YAML file; see :func:`recipe_path`.

    Raises:
        InputError: no such recipe, or no YAML in it.
    """
    path = recipe_path(name)
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is missing or broken: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no recipe: it holds {content!r}, not keys and values")
    return content
