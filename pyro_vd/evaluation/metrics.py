"""How good a network is: error, likelihood, calibration and ranking; and beside that how small."""

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
from pyro_vd.evaluation.predictors import predictor_of
from pyro_vd.evaluation.regression import RegressionMetrics, measure_numbers
from pyro_vd.evaluation.score import ERROR, Score
from pyro_vd.evaluation.scores import scores
from pyro_vd.evaluation.uncertainty import CALIBRATION_BINS, equal_mass_calibration_error
from pyro_vd.networks.sizes import LayerSize


@dataclass(frozen=True)
class Metrics:
    """What :func:`evaluate` measures of classes. Error and sparsity are shares in [0, 1]; ``nll`` is in nats per example.

    Zeros and ones are two classes; where an example has several, each of them counts as an example.

    ``roc_auc`` is macro-averaged one against the rest, None where a class is missing from the data; ``ece`` has 15 bins of
    equal width, ``ece_equal_mass`` as many of equally many predictions; ``brier`` is the mean over examples of
    Σ (p − onehot)². ``entropy`` of the predictive and ``mutual_information`` of class and weights are means in nats, the
    latter None for an ordinary network; see :mod:`pyro_vd.evaluation.uncertainty`.

    ``compression`` is |W| / |W kept| over all weights of the network, which are its parameters of two dimensions or more, in
    whatever layer; a weight without a prior is kept; infinite where none is kept, NaN where none can be seen, as in an ONNX
    file. ``prior_share`` is the share, in [0, 1], of all parameters, biases included, that has a prior; of an ordinary network
    that of the weights of linear layers and convolutions that are not frozen. ``deployed`` says how many parameters and bytes
    would be deployed; of a guide's predictive that is the network of the means. ``layers`` are the weights with a prior, and
    at the end all others in one. See :func:`~pyro_vd.networks.sizes.layer_sizes`.
    """

    error: float
    nll: float
    roc_auc: float | None
    ece: float
    ece_equal_mass: float
    brier: float
    entropy: float
    mutual_information: float | None
    compression: float
    prior_share: float
    deployed: DeployedSize | None
    layers: tuple[LayerSize, ...]

    @property
    def score(self) -> Score:
        """How wrong the predictions are, as of any likelihood."""
        return Score(ERROR, self.error)


def evaluate(
    net: nn.Module, data: Data, *, num_samples: int = 20, likelihood: Observed | None = None
) -> Metrics | RegressionMetrics:
    """Measure an ordinary network, or the Monte Carlo predictive of a guide.

    Args:
        net: an ordinary network, or a trained guide.
        data: inputs and observations, as tensors, NumPy arrays or lists; or a data set, of which the test data are taken.
        num_samples: draws of a guide's predictive, each of all latent sites for all examples; at least 1.
        likelihood: of an observation given the output of an ordinary network, such as ``model.likelihood``; None for classes
            from logits. A guide's model has its own.

    Returns:
        :class:`Metrics` of classes, or zeros and ones; :class:`~pyro_vd.evaluation.RegressionMetrics` of numbers.

    Raises:
        InputError: neither a network nor a guide; data that do not fit the network; outputs that are not finite; or, for
            classes, scikit-learn or torchmetrics is not installed.
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
    """Compare predictions with the labels ``(n,)`` of their inputs; ``size`` is that of the network that made them.

    Raises:
        InputError: a prediction that is NaN or infinite.
    """
    check_installed("measuring a classifier", "scikit-learn", "torchmetrics")
    from sklearn.metrics import roc_auc_score
    from torchmetrics.functional.classification import multiclass_calibration_error

    log_p, y = prediction.log_p.cpu(), y.cpu()
    if broken := int(log_p.isnan().any(-1).sum()):
        raise InputError(f"the network's output is NaN or infinite for {broken} of {len(y)} examples; it cannot be measured")
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
