"""Class probabilities of plain networks and of posteriors, and their uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.predictors import Predictor, predictor_of
from pyro_vd.evaluation.scores import class_scores
from pyro_vd.evaluation.uncertainty import entropy
from pyro_vd.networks.inputs import device_of


@dataclass(frozen=True)
class Prediction:
    """Predicted class probabilities of n inputs, on the device of the inputs."""

    log_p: Tensor
    """Log probabilities ``(n, classes)`` in float64."""
    mutual_information: Tensor | None = None
    """Mutual information of class and weights, ``(n,)`` in nats; None for an ordinary network, with one set of weights."""

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


def predict(net: nn.Module | Predictor, x: Any, *, num_samples: int = 20, likelihood: Observed | None = None) -> Prediction:
    """Predict class probabilities and their uncertainty, with an ordinary network, a guide, or another predictor.

    Args:
        net: an ordinary network; an object of your own with the interface :class:`~pyro_vd.evaluation.Predictor`, such as an
            ensemble; or a guide, which predicts with draws of all latent sites of its model. All inputs share each draw, so the
            Monte Carlo errors of different inputs are not independent.
        x: inputs ``(n, …)``, as a tensor, array or list; a tuple or a mapping of several; or a data set, of which the test
            inputs are taken.
        num_samples: number of draws of a guide's predictive, at least 1.
        likelihood: maps the output of an ordinary network to the distribution of the observations, such as
            ``model.likelihood``; None for classes from logits. Must be None for a guide, whose model has a likelihood,
            and for a predictor.

    Raises:
        InputError: ``net`` is not a network, guide or predictor; the inputs do not fit the network; or the model observes
            numbers, for which :func:`~pyro_vd.posterior.predictive` predicts the mean.
    """
    predictor = predictor_of("predict", net, num_samples, likelihood)
    x = predictor.check_inputs("x", x)
    means = predictor.means(x, None, class_scores)
    log_p = means["log_p"].to(device_of(x))
    return Prediction.of_means(log_p, means["entropy"].to(log_p.device)) if predictor.has_draws else Prediction(log_p)
