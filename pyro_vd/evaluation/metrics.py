"""Metrics of a network: error, likelihood, calibration and ranking of its predictions, and its size."""

from __future__ import annotations

from typing import Any

from torch import nn

from pyro_vd.data.dataset import Data
from pyro_vd.evaluation.checked_batches import checked_batches, network_dtype
from pyro_vd.evaluation.classification import Metrics, measure
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.gathering import by_label, gathered, gathered_draws, with_same_draws
from pyro_vd.evaluation.heads import HeadsMetrics, head_of, heads_in
from pyro_vd.evaluation.network_size import NetworkSize
from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.prediction import Prediction
from pyro_vd.evaluation.predictors import Predictor, predictor_of
from pyro_vd.evaluation.regression import RegressionMetrics, measure_numbers
from pyro_vd.evaluation.scores import scores
from pyro_vd.evaluation.structured import without_weights

AnyMetrics = Metrics | RegressionMetrics | HeadsMetrics
"""What :func:`evaluate` returns."""


def evaluate(
    net: nn.Module | Predictor, data: Data, *, num_samples: int = 20, likelihood: Observed | None = None
) -> AnyMetrics:
    """Measure an ordinary network, the Monte Carlo predictive of a guide, or another predictor.

    Args:
        net: an ordinary network, a trained guide, or an object of your own with the interface
            :class:`~pyro_vd.evaluation.Predictor`, such as an ensemble.
        data: inputs ``(n, …)`` and observations ``(n, …)``, as tensors, NumPy arrays or lists; a data set, of which the test
            data are taken; or data that are read batch by batch, see :func:`~pyro_vd.fit` and
            :class:`~pyro_vd.data.LoaderBatches`. All batches share the draws of a guide.
        num_samples: number of draws of all latent sites for a guide's predictive, at least 1.
        likelihood: maps the output of an ordinary network to the distribution of the observations, such as
            ``model.likelihood``; None for classes from logits. Must be None for a guide, whose model has a likelihood,
            and for a predictor.

    Returns:
        :class:`Metrics` for classes, or zeros and ones; :class:`~pyro_vd.evaluation.RegressionMetrics` for numbers;
        :class:`~pyro_vd.evaluation.HeadsMetrics` where several heads are observed.

    Raises:
        InputError: ``net`` is not a network, guide or predictor; the data do not fit the network; its outputs are not finite;
            or, for classes, scikit-learn is not installed.

    Examples:
        >>> from pyro_vd import evaluate, load_data
        >>> from pyro_vd.networks import mlp
        >>> metrics = evaluate(mlp([64, 10]), load_data("digits").test)
        >>> metrics.compression, metrics.score.name
        (1.0, 'error')
    """
    predictor = predictor_of("evaluate", net, num_samples, likelihood)
    batches = checked_batches("data", data, predictor.check_data, network_dtype(net))
    if batches is None:
        x, y = predictor.check_data("data", data)
        return _measured(predictor.means(x, y, scores), y, predictor.size(x), predictor.has_draws)
    found: list[Draws] = []
    observed: list[Any] = []
    sizes: list[NetworkSize] = []
    for x, y in with_same_draws(batches, net):
        means, y = by_label(predictor.means(x, y, scores), y)
        found.append(means)
        observed.append(y)
        sizes = sizes or [predictor.size(x)]
    means, y = gathered_draws("data", found, predictor.has_draws), gathered("data", observed)
    return _measured(means, y, sizes[0], predictor.has_draws)


def _measured(means: Draws, y: Any, size: NetworkSize, has_draws: bool) -> AnyMetrics:
    if heads := heads_in(means):
        nll = -means["log_likelihood"].mean().item()
        return HeadsMetrics(nll, {key: _one(head_of(means, key), y[key], size, has_draws) for key in heads}, **vars(size))
    return _one(means, y, size, has_draws)


def _one(means: Draws, y: Any, size: NetworkSize, has_draws: bool) -> Metrics | RegressionMetrics:
    """Return the metrics of one head."""
    y = without_weights(y)[0]
    if "log_p" not in means:
        return measure_numbers(means, y, size)
    prediction = Prediction.of_means(means["log_p"], means["entropy"]) if has_draws else Prediction(means["log_p"])
    return measure(prediction, y, size, means.get("kept"))
