"""Metrics of a network: error, likelihood, calibration and ranking of its predictions, and its size."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed
from pyro_vd.data.dataset import Data
from pyro_vd.evaluation.deployed import DeployedSize
from pyro_vd.evaluation.network_size import NetworkSize
from pyro_vd.evaluation.observations import Observed, class_labels
from pyro_vd.evaluation.prediction import Prediction
from pyro_vd.evaluation.predictors import Predictor, predictor_of
from pyro_vd.evaluation.regression import RegressionMetrics, measure_numbers
from pyro_vd.evaluation.score import ERROR, Score
from pyro_vd.evaluation.scores import scores
from pyro_vd.evaluation.uncertainty import CALIBRATION_BINS, equal_mass_calibration_error
from pyro_vd.networks.sizes import LayerSize


@dataclass(frozen=True)
class Metrics:
    """Metrics of :func:`evaluate` where classes are observed.

    Zeros and ones are two classes; if an example has several of them, each counts as one example.
    """

    error: float
    """Share of wrong predictions, in [0, 1]."""
    nll: float
    """Negative log likelihood, in nats per example."""
    roc_auc: float | None
    """Area under the ROC curve, one class against the rest, averaged over classes; None if the data lack a class."""
    ece: float
    """Expected calibration error over 15 bins of equal width, in [0, 1]."""
    ece_equal_mass: float
    """Expected calibration error over 15 bins with equal numbers of predictions, in [0, 1]."""
    brier: float
    """Brier score, the mean over examples of Σ (p − onehot)²."""
    entropy: float
    """Mean entropy of the predictive, in nats; see :mod:`pyro_vd.evaluation.uncertainty`."""
    mutual_information: float | None
    """Mean mutual information of class and weights, in nats; None for an ordinary network."""
    compression: float
    """|W| / |W kept| over all parameters with two or more dimensions; weights without a prior are kept. Infinite if none is
    kept, NaN if there are none, as in a network from an ONNX file."""
    prior_share: float
    """Share of the parameters, biases included, that have a prior, in [0, 1]. For an ordinary network, the share that are
    weights of linear layers and convolutions and are not frozen."""
    deployed: DeployedSize | None
    """Parameters and bytes of the deployed network; for a guide, that of the posterior means."""
    layers: tuple[LayerSize, ...]
    """Sizes of each weight with a prior, then of all others together; see :func:`~pyro_vd.networks.sizes.layer_sizes`."""

    @property
    def score(self) -> Score:
        """The error as a :class:`~pyro_vd.evaluation.score.Score`."""
        return Score(ERROR, self.error)


def evaluate(
    net: nn.Module | Predictor, data: Data, *, num_samples: int = 20, likelihood: Observed | None = None
) -> Metrics | RegressionMetrics:
    """Measure an ordinary network, the Monte Carlo predictive of a guide, or another predictor.

    Args:
        net: an ordinary network, a trained guide, or an object of your own with the interface
            :class:`~pyro_vd.evaluation.Predictor`, such as an ensemble.
        data: inputs ``(n, …)`` and observations ``(n, …)``, as tensors, NumPy arrays or lists; or a data set, of which the test
            data are taken.
        num_samples: number of draws of all latent sites for a guide's predictive, at least 1.
        likelihood: maps the output of an ordinary network to the distribution of the observations, such as
            ``model.likelihood``; None for classes from logits. Must be None for a guide, whose model has a likelihood,
            and for a predictor.

    Returns:
        :class:`Metrics` for classes, or zeros and ones; :class:`~pyro_vd.evaluation.RegressionMetrics` for numbers.

    Raises:
        InputError: ``net`` is not a network, guide or predictor; the data do not fit the network; its outputs are not finite;
            or, for classes, scikit-learn or torchmetrics is not installed.
    """
    predictor = predictor_of("evaluate", net, num_samples, likelihood)
    x, y = predictor.check_data("data", data)
    means, size = predictor.means(x, y, scores), predictor.size(x)
    if "log_p" not in means:
        return measure_numbers(means, y, size)
    has_draws = predictor.has_draws
    prediction = Prediction.of_means(means["log_p"], means["entropy"]) if has_draws else Prediction(means["log_p"])
    return measure(prediction, class_labels(y), size)


def measure(prediction: Prediction, y: Tensor, size: NetworkSize) -> Metrics:
    """Compute the metrics of predictions for labels ``(n,)``; ``size`` is the size of the network.

    Raises:
        InputError: a prediction is NaN or infinite, or scikit-learn or torchmetrics is not installed.
    """
    check_installed("measuring a classifier", "scikit-learn", "torchmetrics")
    from sklearn.metrics import roc_auc_score
    from torchmetrics.functional.classification import multiclass_calibration_error

    log_p, y = prediction.log_p.cpu(), y.cpu()
    if broken := int(log_p.isnan().any(-1).sum()):
        raise InputError(
            f"the network's output is NaN or infinite for {broken} of {len(y)} examples; all outputs must be finite",
            name="net",
            value=broken,
            allowed="finite outputs",
        )
    p, classes = log_p.exp(), log_p.shape[-1]
    p /= p.sum(-1, keepdim=True)
    auc, mutual_information = None, prediction.mutual_information
    if len(y.unique()) == classes:
        scores = p[:, 1].numpy() if classes == 2 else p.numpy()
        auc = float(roc_auc_score(y.numpy(), scores, multi_class="ovr"))
    return Metrics(
        error=(p.argmax(-1) != y).double().mean().item(),
        nll=-log_p.gather(1, y[:, None]).mean().item(),
        roc_auc=auc,
        ece=multiclass_calibration_error(p, y, num_classes=classes, n_bins=CALIBRATION_BINS).item(),
        ece_equal_mass=equal_mass_calibration_error(p, y),
        brier=(p - F.one_hot(y, classes)).square().sum(-1).mean().item(),
        entropy=prediction.entropy.mean().item(),
        mutual_information=None if mutual_information is None else mutual_information.mean().item(),
        **vars(size),
    )
