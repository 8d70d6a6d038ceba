"""A finished run, read back: its recipe, its trained guide and its data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn

from pyro_vd._core.arguments import check_path
from pyro_vd._core.errors import InputError
from pyro_vd.data.dataset import Arrays, Dataset
from pyro_vd.export.pruned_file import load_pruned
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.data_checks import check_data
from pyro_vd.pruning.rule import PruningRule
from pyro_vd.workflow.posterior_file import load_posterior
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.recipe_data import data_of
from pyro_vd.workflow.recipe_files import parse_recipe
from pyro_vd.workflow.run_folder import POSTERIOR, PRUNED, RECIPE, read_metrics, recipe_of


@dataclass
class Run:
    """A finished run: its recipe, its trained guide on the CPU, and its data, which are read at their first use.

    Raises:
        InputError: at the first use of ``data``, ``train`` or ``validation``: they are missing, broken or do not fit the model.
    """

    folder: Path
    recipe: Recipe
    guide: WeightGuide
    data_dir: Path | str | None = field(default=None, repr=False)
    """The torchvision root, by default the recipe's."""

    @property
    def model(self) -> BayesianNetwork:
        """The model that the guide is for."""
        return self.guide.model

    @cached_property
    def data(self) -> Dataset:
        """The whole data set, with observations as the likelihood takes them."""
        return checked(data_of(self.recipe, self.data_dir), self.model)

    @property
    def train(self) -> Arrays:
        """The data that the run was trained on."""
        return self._split[0]

    @property
    def validation(self) -> Arrays | None:
        """The data that were held out from training for validation; None where there are none."""
        return self._split[1] if self.recipe.data.validation else None

    def report(self, path: Path | str, progress: bool = True) -> None:
        """Write the report on this run as one file of HTML, which needs no other one; it is replaced if it exists.

        Args:
            path: the file.
            progress: whether to show how far it is.

        Raises:
            InputError: the folder of the file is missing; the path is not that of a file; or the data of the run are missing.
            MissingPackageError: the extra ``report`` is not installed.
            OSError: the file cannot be written.
        """
        from pyro_vd.workflow.report_page.files import report_runs  # it imports this module

        report_runs([self.folder], path, data_dir=self.data_dir, progress=progress)

    @cached_property
    def _split(self) -> tuple[Arrays, Arrays | None]:
        return self.data.split(self.recipe.data.validation)


def load_run(folder: Path | str, data_dir: Path | str | None = None) -> Run:
    """Read a finished run; its data are read at their first use.

    Args:
        folder: the folder of the run.
        data_dir: the torchvision root, by default the recipe's.

    Raises:
        InputError: the folder does not exist, its run is not finished, or its files are broken or do not fit its recipe.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> from pyro_vd import load_run, train_run
        >>> from pyro_vd.workflow import parse_recipe
        >>> folder = Path(mkdtemp(), "run")
        >>> recipe = {"data": {"name": "digits"}, "model": {"sizes": [64, 20, 10]}, "train": {"epochs": 2}}
        >>> metrics = train_run(parse_recipe(recipe), folder, progress=False)
        >>> list(metrics["networks"])
        ['posterior mean', 'Monte Carlo', 'pruned']
        >>> load_run(folder).guide.site_names
        ['1.weight', '3.weight']
    """
    folder = check_path("run", folder)
    if not folder.is_dir():
        raise InputError(name="run", value=str(folder), allowed="the folder of a run")
    recipe = parse_recipe(recipe_of(folder), str(folder / RECIPE))
    read_metrics(folder)
    net = recipe.model.build()
    model = recipe.model.bayesian(net, recipe.model.build_likelihood(net))
    guide = recipe.train.guide.build(model)
    load_posterior(folder / POSTERIOR, guide)
    return Run(folder, recipe, guide, None if data_dir is None else check_path("data_dir", data_dir))


def run_pruned(folder: Path | str) -> nn.Module:
    """The pruned network of a finished run, in evaluation mode.

    Raises:
        InputError: the folder holds no finished run, or its files are broken; or the recipe names a network of a package that
            is not trusted, see :func:`~pyro_vd.workflow.trust`.
    """
    folder = check_path("run", folder)
    recipe = parse_recipe(recipe_of(folder), str(folder / RECIPE))
    return load_pruned(folder / PRUNED, None if recipe.model.class_ is None else recipe.model.build())


def run_rule(run: Run) -> PruningRule:
    """The rule that a run was pruned by; its threshold is infinite where nothing was pruned."""
    threshold = read_metrics(run.folder)["threshold"]
    return run.recipe.prune.rule(math.inf if threshold is None else float(threshold))


def checked(data: Dataset, model: BayesianNetwork) -> Dataset:
    """The data set with observations as the model's likelihood takes them, and integers as numbers where the network needs it.

    Raises:
        InputError: the data do not fit the model.
    """
    try:
        return _checked(data, model)
    except InputError as error:
        if not isinstance(data.x_train, Tensor) or data.x_train.is_floating_point():
            raise
        as_numbers = replace(data, x_train=data.x_train.float(), x_test=data.x_test.float())
        try:
            return _checked(as_numbers, model)
        except InputError:
            raise error from None


def _checked(data: Dataset, model: BayesianNetwork) -> Dataset:
    train = check_data(f"{data.name}, training data", (data.x_train, data.y_train), model)
    test = check_data(f"{data.name}, test data", data.test, model)
    return replace(data, x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
