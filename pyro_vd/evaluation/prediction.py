"""Predictions of plain networks and of posteriors, and their uncertainty: class probabilities, and distributions of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vd._core.arguments import check_number
from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.checked_batches import checked_batches, network_dtype
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.gathering import gathered_draws, with_same_draws
from pyro_vd.evaluation.heads import head_of, heads_in
from pyro_vd.evaluation.mixture import KeptDraws, Mixture
from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.predictors import Predictor, predictor_of
from pyro_vd.evaluation.scores import class_scores, expected, logits_of
from pyro_vd.evaluation.structured import heads_of, unweighted
from pyro_vd.evaluation.uncertainty import entropy
from pyro_vd.networks.inputs import Inputs, device_of


@dataclass(frozen=True)
class Prediction:
    """Predicted class probabilities of n inputs, on the device of the inputs.

    Shapes are those of one label per example; with several, such as those of tokens, there is a dimension for them after n.
    Where an example has several zeros and ones, ``(n, d)``, each counts as an example, and n is n · d.
    """

    log_p: Tensor
    """Log probabilities ``(n, classes)`` in float64."""
    mutual_information: Tensor | None = None
    """Mutual information of class and weights, ``(n,)`` in nats, the epistemic part of the entropy; None for an ordinary
    network, with one set of weights."""

    def __repr__(self) -> str:
        shared = "" if self.mutual_information is None else f", mutual information {self.mutual_information.mean():.4g}"
        return f"Prediction(log_p {tuple(self.log_p.shape)}; means in nats: entropy {self.entropy.mean():.4g}{shared})"

    @classmethod
    def of_means(cls, log_p: Tensor, mean_entropy: Tensor) -> Prediction:
        """Return the predictive of several draws, with the mutual information of the class and the weights.

        The mutual information is H(mean p) − mean H(p) ≥ 0 (Houlsby 2011, arXiv 1112.5745, eq. 2), the disagreement of the
        draws. The rest of the predictive's entropy, mean H(p), is the uncertainty of each single draw.

        Args:
            log_p: log of the mean over the draws of the probabilities, ``(n, classes)``.
            mean_entropy: mean over the draws of the entropies, ``(n,)`` in nats.
        """
        return cls(log_p, (entropy(log_p) - mean_entropy).clamp(min=0))  # negative only by rounding

    @property
    def entropy(self) -> Tensor:
        """Entropy of the predictive, ``(n,)`` in nats."""
        return entropy(self.log_p)


@dataclass(frozen=True, repr=False)
class NumberPrediction:
    """Predicted numbers of n inputs, in float64 on the device of the inputs.

    The predictive is an equal mixture of the distributions under each draw of the weights; an ordinary network has one.
    """

    mean: Tensor
    """Mean ``(n, …)``."""
    aleatoric: Tensor
    """Mean over the draws of the variances ``(n, …)``, the noise of the observations; NaN where torch has no variance."""
    epistemic: Tensor | None
    """Variance over the draws of the means ``(n, …)``, which more data could remove; None for an ordinary network."""
    mixture: Mixture
    """The distributions under each draw."""

    def __repr__(self) -> str:
        return f"NumberPrediction(mean {tuple(self.mean.shape)}; mean sd {self.sd.mean():.4g})"

    @property
    def sd(self) -> Tensor:
        """Standard deviation of the predictive ``(n, …)``, of both parts of the variance."""
        return (self.aleatoric if self.epistemic is None else self.aleatoric + self.epistemic).sqrt()

    def quantile(self, level: float) -> Tensor:
        """Return the quantile of the predictive ``(n, …)``, the smallest y with P(Y ≤ y) ≥ level.

        Args:
            level: in (0, 1).

        Raises:
            InputError: the level is out of range, or the distribution function of the observations is not known.
        """
        if not 0 < check_number("level", level, low=0, high=1) < 1:
            raise InputError(name="level", value=level, allowed="a number above 0 and below 1")
        return self.mixture.quantile(level)

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return the ends of the central interval of the predictive, the quantiles (1 − level)/2 and (1 + level)/2.

        Args:
            level: the probability of the interval, in (0, 1).

        Raises:
            InputError: see :meth:`quantile`.
        """
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)


Predictions = Prediction | NumberPrediction | Mapping[str, Prediction | NumberPrediction]
"""What :func:`predict` returns: of classes, of numbers, or of several heads by name."""


def predict(net: nn.Module | Predictor, x: Any, *, num_samples: int = 20, likelihood: Observed | None = None) -> Predictions:
    """Predict observations and their uncertainty, with an ordinary network, a guide, or another predictor.

    Args:
        net: an ordinary network; an object of your own with the interface :class:`~pyro_vd.evaluation.Predictor`, such as an
            ensemble; or a guide, which predicts with draws of all latent sites of its model. All inputs share each draw, so the
            Monte Carlo errors of different inputs are not independent.
        x: inputs ``(n, …)``, as a tensor, array or list; a tuple or a mapping of several; a data set, of which the test inputs
            are taken; or data that are read batch by batch, see :func:`~pyro_vd.evaluate`, of whose batches the inputs are
            taken: the first part of a pair, or a mapping without its observations. Predictions come in the order of the
            batches, which a loader that shuffles changes in every pass.
        num_samples: number of draws of a guide's predictive, at least 1.
        likelihood: maps the output of an ordinary network to the distribution of the observations, such as
            ``model.likelihood``; None for classes from logits. Must be None for a guide, whose model has a likelihood,
            and for a predictor.

    Returns:
        :class:`Prediction` of classes, or zeros and ones; :class:`NumberPrediction` of numbers; a mapping of these by the name
        of the head where several heads are predicted.

    Raises:
        InputError: ``net`` is not a network, guide or predictor; the inputs do not fit the network; or torch does not implement
            the mean of the numbers.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from pyro_vd import BayesianNetwork, VariationalDropout, predict
        >>> p = predict(VariationalDropout(BayesianNetwork(nn.Linear(4, 3))), torch.randn(10, 4), num_samples=5)
        >>> p.log_p.shape, p.mutual_information.shape
        (torch.Size([10, 3]), torch.Size([10]))
    """
    predictor = predictor_of("predict", net, num_samples, likelihood)
    kept: dict[str, KeptDraws] = {}

    def means_of(inputs: Inputs) -> Draws:
        found = predictor.means(inputs, None, lambda distribution, _: _observed(distribution, kept))
        return {name: value.to(device_of(inputs)) for name, value in found.items()}

    batches = checked_batches("x", x, predictor.check_inputs, network_dtype(net), pairs=False)
    if batches is None:
        means = means_of(predictor.check_inputs("x", x))
    else:
        means = gathered_draws("x", [means_of(part) for part in with_same_draws(batches, net)], predictor.has_draws)
    found = {
        head: _predicted(head_of(means, head) if head else means, kept.get(head), predictor.has_draws)
        for head in heads_in(means) or [""]
    }
    return found.get("", found)


def _observed(distribution: Distribution, kept: dict[str, KeptDraws]) -> Draws:
    """Return what a prediction needs of the distribution under one draw, by name; of several heads, of all heads."""
    found: Draws = {}
    for head, of_head in heads_of(distribution).items():
        observed = unweighted(of_head, None)[0]
        logits = logits_of(observed)
        if logits is None:
            expected(observed)  # raises where torch has no mean
            parts = kept.setdefault(head, KeptDraws()).tensors(observed)
        else:
            parts = class_scores(logits)
        found |= {f"{name}.{head}" if head else name: value.cpu().double() for name, value in parts.items()}
    return found


def _predicted(means: Draws, kept: KeptDraws | None, has_draws: bool) -> Prediction | NumberPrediction:
    if kept is None:
        log_p = means["log_p"]
        return Prediction.of_means(log_p, means["entropy"]) if has_draws else Prediction(log_p)
    mixture = kept.mixture(means if has_draws else {name: value[None] for name, value in means.items()})
    return NumberPrediction(mixture.mean(), mixture.aleatoric(), mixture.epistemic() if has_draws else None, mixture)
