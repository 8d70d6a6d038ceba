"""The folder of a run: what is in it, who may write to it, how it is read back."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from pyro_vd._core.arguments import check_path
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd._core.reading import read_json
from pyro_vd._core.storage import clear_temporaries, write_atomically
from pyro_vd._core.tensor_file import check_checksum, read_tensors, tensor_bytes
from pyro_vd._core.yaml_files import load_yaml, read_yaml
from pyro_vd.data.dataset import Arrays, Dataset
from pyro_vd.data.loading import load_data
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.data_checks import check_data
from pyro_vd.networks.checks import check_state
from pyro_vd.pruning.rule import PruningRule
from pyro_vd.training.state import read_log
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.recipe_files import parse_recipe
from pyro_vd.workflow.results import check_results

RECIPE, METRICS, LOG, POSTERIOR, PRUNED, FRAMES = (
    "recipe.yaml",
    "metrics.json",
    "metrics.jsonl",
    "posterior.safetensors",
    "pruned.safetensors",
    "frames",
)

_POSTERIOR_MARK = "pyro_vd posterior 1"


def prepare_run_dir(folder: Path, recipe: Recipe, resume: bool) -> None:
    """Make the folder for this recipe, or make sure that it is this recipe's.

    Raises:
        InputError: it holds something and ``resume`` is off, or another run; nothing is changed.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"output folder (={str(folder)!r}) is a file; choose another with --out")
    recipe = recipe.from_anywhere()
    wanted = load_yaml(dump(recipe))
    if resume and folder.exists():
        clear_temporaries(folder)
    if folder.exists() and any(folder.iterdir()):
        if not resume:
            raise InputError(
                f"output folder (={str(folder)!r}) is not empty; go on with --resume, or choose another with --out"
            )
        found = _recipe_of(folder)
        if different := sorted(_differences(found, wanted)):
            raise InputError(f"{folder} holds a run of another recipe: {'; '.join(different)}")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"output folder (={str(folder)!r}) cannot be made: {error.strerror}") from error
    write_atomically(folder / RECIPE, dump(recipe).encode())


def dump(recipe: Recipe) -> str:
    """The recipe as YAML, complete and resolved."""
    return yaml.safe_dump(asdict(recipe), sort_keys=False, default_flow_style=None)


def read_metrics(folder: Path) -> dict[str, Any]:
    """What a finished run has measured.

    Raises:
        InputError: the folder holds no finished run, or the file is not as a run writes it.
    """
    path = folder / METRICS
    if not path.is_file():
        raise InputError(
            f"{folder} holds no finished run: {METRICS} is not there. Finish it: pyro-vd train RECIPE --resume --out {folder}"
        )
    return check_results(f"{path} is corrupt", read_json(path, "the results of a run"))


def read_history(folder: Path) -> list[EpochRecord]:
    """The log of a run, all phases in order. What JSON cannot hold is back: a null loss is NaN, a null compression infinite.

    Raises:
        InputError: the log is missing or broken.
    """
    return [record for _, record in read_log(folder / LOG)]


@dataclass
class Run:
    """A trained run, read back: recipe and guide, with its model, on the CPU; and its data, read at their first use.

    Raises:
        InputError: asked for ``data``, ``train`` or ``validation``: they are missing, broken or do not fit the model.
    """

    folder: Path
    recipe: Recipe
    guide: WeightGuide
    data_dir: Path | str | None = field(default=None, repr=False)
    """Torchvision root, by default the recipe's."""

    @property
    def model(self) -> BayesianNetwork:
        """The model that the guide is for."""
        return self.guide.model

    @cached_property
    def data(self) -> Dataset:
        """The whole data set, its observations as the likelihood takes them."""
        return checked(load_data(self.recipe.data.name, self.data_dir or self.recipe.data.dir), self.model)

    @property
    def train(self) -> Arrays:
        """What it was trained on."""
        return self._split[0]

    @property
    def validation(self) -> Arrays | None:
        """What was held out from training to choose by; None without."""
        return self._split[1] if self.recipe.data.validation else None

    @cached_property
    def _split(self) -> tuple[Arrays, Arrays | None]:
        return self.data.split(self.recipe.data.validation)


def save_posterior(folder: Path, guide: WeightGuide) -> None:
    """Write θ, log σ² and the model's plain parameters as safetensors, with a checksum."""
    state = _both(guide).state_dict()
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    write_atomically(folder / POSTERIOR, tensor_bytes(_POSTERIOR_MARK, {}, tensors))


def load_posterior(path: Path, guide: WeightGuide) -> None:
    """Fill a guide and its model with what :func:`save_posterior` wrote.

    Raises:
        InputError: the file is missing, broken, changed since, or of another model; nothing is changed.
    """
    described, tensors = read_tensors(path, _POSTERIOR_MARK, "the posterior of a run")
    check_state(str(path), tensors, both := _both(guide))
    check_checksum(path, described, tensors)
    both.load_state_dict(tensors)


def _both(guide: WeightGuide) -> nn.Module:
    return nn.ModuleDict({"model": guide.model, "guide": guide})


def load_run(folder: Path | str, data_dir: Path | str | None = None) -> Run:
    """Read a finished run; its data are read at their first use.

    Args:
        folder: where it is.
        data_dir: torchvision root, by default the recipe's.

    Raises:
        InputError: the folder is not there, not finished, or its files are broken or of another architecture.
    """
    folder = check_path("run", folder)
    if not folder.is_dir():
        raise InputError(f"run (={str(folder)!r}) is not a folder")
    recipe = parse_recipe(_recipe_of(folder), str(folder / RECIPE))
    read_metrics(folder)
    net = recipe.model.build()
    model = BayesianNetwork(net, recipe.model.build_likelihood(net), prior=recipe.model.weight_prior())
    guide = recipe.train.guide.build(model)
    load_posterior(folder / POSTERIOR, guide)
    return Run(folder, recipe, guide, None if data_dir is None else check_path("data_dir", data_dir))


def run_rule(run: Run) -> PruningRule:
    """What was pruned in a run; its threshold is infinite where nothing was, which JSON has no number for."""
    threshold = read_metrics(run.folder)["threshold"]
    return PruningRule(math.inf if threshold is None else float(threshold), run.recipe.prune.max_inputs)


def checked(data: Dataset, model: BayesianNetwork) -> Dataset:
    """The data set, its observations as the model's likelihood takes them; see :func:`~pyro_vd.models.data_checks.check_data`.

    Raises:
        InputError: the data do not fit the model.
    """
    train = check_data(f"{data.name}, training data", (data.x_train, data.y_train), model)
    return Dataset(data.name, *train, *check_data(f"{data.name}, test data", data.test, model))


def _recipe_of(folder: Path) -> dict[str, Any]:
    if not (folder / RECIPE).is_file():
        raise InputError(f"{folder} holds no run: {RECIPE} is not there")
    return read_yaml(folder / RECIPE)


def _differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in {**found, **wanted} if found.get(key) != wanted.get(key)]
        return [
            line
            for key in keys
            for line in _differences(found.get(key), wanted.get(key), f"{path}.{key}" if path else str(key))
        ]
    return [f"{path} is {quoted(found)} there, {quoted(wanted)} here"]
