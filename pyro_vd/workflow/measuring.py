"""Measurements at the end of a run, on the test data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyro
from torch import nn

from pyro_vd.compaction.surviving import surviving_features, surviving_words
from pyro_vd.data.dataset import Arrays, Dataset
from pyro_vd.evaluation.metrics import AnyMetrics, evaluate
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.models.likelihood_files import describe
from pyro_vd.networks.inputs import Inputs
from pyro_vd.pruning.pruned import pruned_or_mean
from pyro_vd.pruning.thresholds import highest_threshold
from pyro_vd.workflow.baselines import ridge_regression
from pyro_vd.workflow.recipe import Recipe

Fitted = tuple[nn.Module, Likelihood]
"""An ordinary network, and the likelihood of what it predicts."""
NAMES = ("features", "classes")
"""The names that data can have, as keys of files and as attributes of a data set."""
Measured = dict[str, AnyMetrics]
"""The metrics of networks, by name."""


def measure_networks(
    recipe: Recipe,
    train: Arrays,
    test: Arrays,
    pretrained: Fitted | None,
    guide: WeightGuide,
    pruned: Fitted,
) -> Measured:
    """Measure every network of a run.

    Args:
        recipe: of the run.
        train: the training data, for the baseline of a regression.
        test: the data to measure on.
        pretrained: the pretrained network, if the run has one.
        guide: the trained guide, as it was before fine-tuning.
        pruned: the pruned network.
    """
    plain: dict[str, Fitted] = {}
    if recipe.model.likelihood == "normal":
        plain["ridge"] = ridge_regression(train, recipe.model.standardize)
    if pretrained:
        plain["pretrained"] = pretrained
    networks: Measured = {name: evaluate(network, test, likelihood=noise) for name, (network, noise) in plain.items()}
    network, noise = pruned
    return networks | measure_posterior(guide, test, recipe.seed) | {"pruned": evaluate(network, test, likelihood=noise)}


def measure_posterior(guide: WeightGuide, data: Arrays, seed: int, num_samples: int = 20) -> Measured:
    """Measure the posterior mean and the Monte Carlo predictive, as trained: means that were held at zero are zero."""
    mean = pruned_or_mean(guide, highest_threshold(guide.train_threshold))
    pyro.set_rng_seed(seed)
    monte_carlo = evaluate(guide, data, num_samples=num_samples)
    return {"posterior mean": evaluate(mean, data, likelihood=guide.model.likelihood), "Monte Carlo": monte_carlo}


def file_info(recipe: Recipe, threshold: float, likelihood: Likelihood, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Make the ``info`` of a pruned network's file, which describes its run.

    A threshold that removes nothing, which is infinite, is None: JSON has no infinity.

    Args:
        recipe: of the run.
        threshold: that the network was pruned at.
        likelihood: of the network.
        metrics: of the run, with the names of features and classes where there are any; see :func:`names_of`.
    """
    data, finite = recipe.data, threshold if math.isfinite(threshold) else None
    table = {"table": {"target": data.target, "test": data.test, "drop": data.drop}} if data.target is not None else {}
    names = {key: metrics[key] for key in NAMES if key in metrics}
    return {"data": data.name, "threshold": finite, "seed": recipe.seed, **table, **names, **describe(likelihood)}


def names_of(data: Dataset) -> dict[str, list[str]]:
    """The names of features and classes, where the data have any, as lists by ``features`` and ``classes``."""
    return {key: list(names) for key in NAMES if (names := getattr(data, key)) is not None}


def inputs_left(net: nn.Module, features: Sequence[str] | None, words: Sequence[str] | None, example: Inputs) -> dict[str, Any]:
    """The features or the words that a pruned network still reads, where the data name them; see :class:`~pyro_vd.Dataset`."""
    left: dict[str, Any] = {}
    if features is not None:
        left["features_left"] = surviving_features(net, features, example)
    if words is not None:
        left |= {"words": len(words), "words_left": surviving_words(net, words)}
    return left
