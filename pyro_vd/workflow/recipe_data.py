"""The data of a recipe, and the settings of a recipe that follow from them: sizes, and what is observed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import some_of
from pyro_vd.data.dataset import Dataset
from pyro_vd.data.loading import load_data
from pyro_vd.data.table_targets import is_integer
from pyro_vd.workflow.model_config import AUTO, ModelConfig
from pyro_vd.workflow.recipe import Recipe

_OF_CLASSES = ("categorical", "bernoulli", "ordered-logistic")
"""The likelihoods that observe class labels."""


def data_of(recipe: Recipe, data_dir: Path | str | None = None) -> Dataset:
    """Load the data of a recipe; the target of a table is read as the likelihood takes it.

    Args:
        recipe: names the data.
        data_dir: the torchvision root, by default the recipe's.

    Raises:
        InputError: see :func:`~pyro_vd.load_data`; or an ordered-logistic likelihood would get classes without a known order.
    """
    given, likelihood = recipe.data, recipe.model.likelihood
    as_classes = None if likelihood == AUTO else likelihood in _OF_CLASSES
    options: dict[str, Any] = {"target": given.target, "test": given.test, "drop": given.drop, "as_classes": as_classes}
    data = load_data(given.name, data_dir or given.dir, **options)
    if likelihood == "ordered-logistic" and data.classes is not None and not all(map(is_integer, data.classes)):
        raise InputError(
            f"data.target {given.target!r} has the classes {', '.join(data.classes)}, whose order is not known; "
            "model.likelihood ordered-logistic needs numbers",
            name="data.target",
            value=given.target,
            allowed="a column of numbers where model.likelihood is ordered-logistic",
        )
    return data


def resolved(recipe: Recipe, data: Dataset) -> Recipe:
    """The recipe with numbers and names in the place of ``auto``, as its data have them.

    Raises:
        InputError: the data do not have what a setting is to be taken from, such as classes.
    """
    model = recipe.model
    likelihood = model.likelihood
    if likelihood == AUTO:
        likelihood = "normal" if data.y_train.is_floating_point() else "categorical"
    options, arguments = (_filled(each, data) for each in (model.likelihood_args, model.args))
    model = replace(model, likelihood=likelihood, likelihood_args=options, args=arguments)
    if model.sizes is not None and AUTO in model.sizes:
        first, *hidden, last = model.sizes
        first = math.prod(_inputs(data).shape[1:]) if first == AUTO else first
        model = replace(model, sizes=[first, *hidden, _outputs(model, data) if last == AUTO else last])
    return replace(recipe, model=model)


def described(recipe: Recipe, data: Dataset) -> str:
    """One line on what a recipe makes of its data, such as ``mine.csv: 400 + 100 rows, … target 'price': numbers, …``."""
    x, likelihood = data.x_train, recipe.model.likelihood
    shape = "×".join(map(str, x.shape[1:])) if isinstance(x, Tensor) else "several inputs"
    if data.classes is not None:
        kind = f"{len(data.classes)} classes ({some_of('', data.classes)[2:-1]})"
    else:
        kind = "numbers" if data.y_train.is_floating_point() else f"{_classes(data)} classes"
    what = f"{len(data.features)} features" if data.features is not None else f"inputs {shape}"
    target = "observations" if recipe.data.target is None else f"target {recipe.data.target!r}"
    sizes = f"{len(data.y_train)} examples for training, {len(data.y_test)} for the test"
    return f"{data.name}: {sizes}; {what}; {target}: {kind}, {likelihood} likelihood"


def _filled(arguments: Mapping[str, Any], data: Dataset) -> dict[str, Any]:
    """Arguments with numbers of the data in the place of ``auto``, for the names that these have; another ``auto`` stays."""
    return {name: _FOUND[name](data) if value == AUTO and name in _FOUND else value for name, value in arguments.items()}


def _outputs(model: ModelConfig, data: Dataset) -> int:
    """How many numbers a network must return for each example."""
    if model.likelihood == "categorical":
        return _classes(data)
    y = data.y_train
    numbers = y.shape[-1] if y.ndim > 1 else 1
    components = model.likelihood_args.get("components", 1)
    return {"heteroscedastic-normal": 2, "mixture-of-normals": 3 * components}.get(model.likelihood, 1) * numbers


def _inputs(data: Dataset) -> Tensor:
    if not isinstance(data.x_train, Tensor):
        raise InputError(f"{data.name} has several inputs; auto needs one tensor of inputs", name="data.name", value=data.name)
    return data.x_train


def _classes(data: Dataset) -> int:
    if data.classes is not None:
        return len(data.classes)
    labels = data.y_train, data.y_test
    if any(y.is_floating_point() for y in labels):
        message = f"{data.name} has numbers as observations; the number of classes is taken from class labels"
        raise InputError(message, name="data.name", value=data.name, allowed="data with class labels")
    return int(max(y.max() for y in labels)) + 1


def _vocabulary(data: Dataset) -> int:
    if _inputs(data).is_floating_point():
        message = f"{data.name} has numbers as inputs; a vocabulary is taken from tokens, which are integers"
        raise InputError(message, name="data.name", value=data.name, allowed="data of tokens")
    return int(max(data.x_train.max(), data.x_test.max())) + 1


def _shape(data: Dataset) -> list[int]:
    return list(_inputs(data).shape[1:])


_FOUND: dict[str, Callable[[Dataset], Any]] = {"classes": _classes, "vocabulary": _vocabulary, "shape": _shape}
"""What arguments of a network can be taken from the data, by name."""
