"""How good and how small a network is: error, likelihood, calibration, ranking, and non-zero weights a layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pyro_vd.checks import check_data, check_network
from pyro_vd.compaction import compact
from pyro_vd.errors import InputError
from pyro_vd.networks import named_weights, widths
from pyro_vd.prediction import Prediction, logits, predict
from pyro_vd.uncertainty import CALIBRATION_BINS, equal_mass_calibration_error

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide
    from pyro_vd.models.bayesian import BayesianNetwork

Arrays = tuple[Tensor, Tensor]
"""Inputs ``(n, …)`` and integer labels ``(n,)``."""


@dataclass(frozen=True)
class LayerSize:
    """Weights of one layer: how many there are and how many are not zero."""

    site: str
    weights: int
    nonzero: int

    @property
    def sparsity(self) -> float:
        """Share of zero weights, in [0, 1]."""
        return 1 - self.nonzero / self.weights


@dataclass(frozen=True)
class Metrics:
    """What :func:`evaluate` measures. Error and sparsity are shares in [0, 1]; ``nll`` is in nats an example.

    ``roc_auc`` is macro-averaged one against the rest, None where a class is missing from the data; ``ece`` has 15 bins of
    equal width, ``ece_equal_mass`` as many of equally many predictions; ``brier`` is the mean over examples of
    Σ (p − onehot)². ``entropy`` of the predictive and ``mutual_information`` of class and weights are means in nats, the
    latter None for an ordinary network; see :mod:`pyro_vd.uncertainty`. ``compression`` is |W| / |W ≠ 0| over the weights of
    linear and convolution layers, biases not counted, infinite where no weight is left.
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
    layers: tuple[LayerSize, ...]


@dataclass(frozen=True)
class CompactSize:
    """Of the compact network: units as of :func:`surviving_units`, all parameters, and floating-point operations an example.

    Those are the multiplications and additions of its linear layers and convolutions.
    """

    units: str
    parameters: int
    flops: int


def layer_sizes(net: nn.Module) -> tuple[LayerSize, ...]:
    """Weights and non-zero weights of each linear and convolution layer."""
    return tuple(LayerSize(name, w.numel(), int(torch.count_nonzero(w))) for name, w in named_weights(net))


def compression(net: nn.Module) -> float:
    """|W| / |W ≠ 0| over all layers, biases not counted; infinite where no weight is left."""
    return _compression(layer_sizes(net))


def _compression(layers: tuple[LayerSize, ...]) -> float:
    nonzero = sum(layer.nonzero for layer in layers)
    return sum(layer.weights for layer in layers) / nonzero if nonzero else math.inf


def surviving_units(net: nn.Module, example: Tensor | None = None) -> str:
    """Inputs (or channels) that are read and units (or filters) of each hidden layer that matter, such as ``"97-71-33"``.

    Those of the compact network; arguments and errors are those of :func:`~pyro_vd.compact`.
    """
    return _units(compact(net, example))


def _units(small: nn.Module) -> str:
    return "-".join(map(str, widths(small)[:-1]))


@torch.no_grad()
def compact_size(net: nn.Module, example: Tensor) -> CompactSize:
    """What is left of a network; arguments and errors are those of :func:`~pyro_vd.compact`."""
    small = compact(net, example)
    with FlopCounterMode(display=False) as counter:
        small(example[:1])
    parameters = sum(parameter.numel() for parameter in small.parameters())
    return CompactSize(_units(small), parameters, counter.get_total_flops())


def error_rate(net: nn.Module, data: Arrays) -> float:
    """Share of wrong predictions, in [0, 1]."""
    x, y = data
    return share_wrong(logits(net, x), y)


def share_wrong(outputs: Tensor, y: Tensor) -> float:
    """Share of wrong predictions of outputs ``(n, classes)``, in [0, 1]."""
    return (outputs.argmax(-1) != y).float().mean().item()


def evaluate(
    net: nn.Module | BayesianNetwork,
    data: Arrays,
    *,
    guide: WeightGuide | None = None,
    num_samples: int = 20,
    hold: float | None = None,
) -> Metrics:
    """Measure a plain network, or the Monte Carlo predictive of a model and its guide.

    Args:
        net: an ordinary classifier that gives logits; or a :class:`~pyro_vd.models.BayesianNetwork`, with ``guide``.
        data: inputs and labels.
        guide: the trained guide; None for an ordinary network.
        num_samples: draws of the predictive.
        hold: what the training was given as ``hold``, so that the predictive is the network's that was trained.

    Raises:
        InputError: data that do not fit the network, a Bayesian network without a guide, or outputs that are not finite.
    """
    if guide is not None:
        from pyro_vd.posterior import mean_network

        model: BayesianNetwork = net  # type: ignore[assignment]
        check_data("data", data, model)
        layers = layer_sizes(mean_network(model, guide))
    elif hasattr(net, "plain_network"):
        raise InputError(f"{type(net).__name__} has no weights of its own: give evaluate(..., guide=...) as well")
    else:
        check_network("data", data, net)
        layers = layer_sizes(net)
    return measure(predict(net, data[0], guide=guide, num_samples=num_samples, hold=hold), data[1], layers)


def measure(prediction: Prediction, y: Tensor, layers: tuple[LayerSize, ...]) -> Metrics:
    """Compare predictions with the labels ``(n,)`` of their inputs; ``layers`` are those of the network that made them.

    Raises:
        InputError: a prediction that is NaN or infinite, or of one class alone.
    """
    from sklearn.metrics import roc_auc_score
    from torchmetrics.functional.classification import multiclass_calibration_error

    log_p, y = prediction.log_p.cpu(), y.cpu()
    if broken := int(log_p.isnan().any(-1).sum()):
        raise InputError(f"the network's output is NaN or infinite for {broken} of {len(y)} examples; it cannot be measured")
    if (classes := log_p.shape[-1]) < 2:
        raise InputError(f"a network with {classes} output cannot be measured as a classifier; it must have at least 2")
    p = log_p.exp()
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
        compression=_compression(layers),
        layers=layers,
    )
