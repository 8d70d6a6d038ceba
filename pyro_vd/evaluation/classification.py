"""Metrics of predicted classes: error, likelihood, overlap, calibration and ranking."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed
from pyro_vd.evaluation.class_labels import hard_labels
from pyro_vd.evaluation.deployed import DeployedSize
from pyro_vd.evaluation.network_size import NetworkSize
from pyro_vd.evaluation.prediction import Prediction
from pyro_vd.evaluation.score import ERROR, Score
from pyro_vd.evaluation.shown_metrics import ShownMetrics
from pyro_vd.evaluation.uncertainty import confidence_bins, equal_mass_calibration_error
from pyro_vd.networks.sizes import LayerSize


@dataclass(frozen=True, repr=False)
class Metrics(ShownMetrics):
    """Metrics of :func:`~pyro_vd.evaluate` where classes are observed.

    If an example has several labels, such as those of tokens or pixels, or several zeros and ones, which are two classes, each
    label counts once, except those that the likelihood ignores and those of examples of weight 0.
    """

    error: float
    """Share of wrong predictions, in [0, 1]."""
    nll: float
    """Negative log likelihood, in nats per label. Of soft labels, it is the cross-entropy."""
    roc_auc: float | None
    """Area under the ROC curve, one class against the rest, averaged over classes; None if the data lack a class."""
    ece: float
    """Expected calibration error over 15 bins of equal width, in [0, 1]."""
    ece_equal_mass: float
    """Expected calibration error over 15 bins with equal numbers of predictions, in [0, 1]."""
    brier: float
    """Brier score, the mean over labels of Σ (p − onehot)²; soft labels are taken as they are."""
    entropy: float
    """Mean entropy of the predictive, in nats; see :mod:`pyro_vd.evaluation.uncertainty`."""
    mutual_information: float | None
    """Mean mutual information of class and weights, in nats; None for an ordinary network."""
    perplexity: float
    """exp(nll), the number of equally probable classes that would be as uncertain; infinite above 10³⁰⁸."""
    macro_f1: float
    """F1 score per class, averaged over the classes that occur among labels or predictions."""
    mean_iou: float
    """Intersection over union of predicted and true labels per class (Jaccard index), averaged as ``macro_f1``."""
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


def measure(prediction: Prediction, y: Tensor, size: NetworkSize, kept: Tensor | None = None) -> Metrics:
    """Compute the metrics of predictions.

    Args:
        prediction: log probabilities ``(n, …, classes)``.
        y: labels ``(n, …)``, or soft labels ``(n, …, classes)``.
        size: the size of the network.
        kept: whether each label counts, ``(n, …)``; None for all.

    Raises:
        InputError: a prediction is NaN or infinite, or scikit-learn is not installed.
    """
    check_installed("measuring a classifier", "scikit-learn")
    from sklearn.metrics import roc_auc_score

    log_p, labels = prediction.log_p.cpu(), hard_labels(y, prediction.log_p).cpu()
    target = y.cpu() if y.shape == log_p.shape else None
    counted = torch.ones_like(labels, dtype=torch.bool) if kept is None else kept.cpu() > 0.5
    log_p, labels, target = log_p[counted], labels[counted], None if target is None else target[counted].to(log_p)
    classes = log_p.shape[-1]
    if broken := int(log_p.isnan().any(-1).sum()):
        raise InputError(
            f"the network's output is NaN or infinite for {broken} of {len(labels)} examples; all outputs must be finite",
            name="net",
            value=broken,
            allowed="finite outputs",
        )
    p = log_p.exp()
    p /= p.sum(-1, keepdim=True)
    auc, mutual_information = None, prediction.mutual_information
    if len(labels.unique()) == classes:
        scores = p[:, 1].numpy() if classes == 2 else p.numpy()
        auc = float(roc_auc_score(labels.numpy(), scores, multi_class="ovr"))
    target = F.one_hot(labels, classes) if target is None else target
    nll = -torch.where(target > 0, target * log_p, 0.0).sum(-1).mean().item()
    predicted = p.argmax(-1)
    hits, guessed, true = (of.bincount(minlength=classes).double() for of in (labels[predicted == labels], predicted, labels))
    occurs = guessed + true > 0
    return Metrics(
        error=(predicted != labels).double().mean().item(),
        nll=nll,
        roc_auc=auc,
        ece=confidence_bins(p, labels).calibration_error,
        ece_equal_mass=equal_mass_calibration_error(p, labels),
        brier=(p - target).square().sum(-1).mean().item(),
        entropy=prediction.entropy.cpu()[counted].mean().item(),
        mutual_information=None if mutual_information is None else mutual_information.cpu()[counted].mean().item(),
        perplexity=math.exp(nll) if nll < 709 else math.inf,
        macro_f1=(2 * hits / (guessed + true))[occurs].mean().item(),
        mean_iou=(hits / (guessed + true - hits))[occurs].mean().item(),
        **vars(size),
    )
