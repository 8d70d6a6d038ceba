"""Class probabilities of plain networks and of posteriors, and how unsure they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.predictors import predictor_of
from pyro_vd.evaluation.scores import class_scores
from pyro_vd.evaluation.uncertainty import entropy


@dataclass(frozen=True)
class Prediction:
    """What is predicted for n inputs. All are on the device of the inputs."""

    log_p: Tensor
    """Log probabilities ``(n, classes)`` in float64."""
    mutual_information: Tensor | None = None
    """``(n,)`` in nats; None for an ordinary network, which has one set of weights."""

    def __repr__(self) -> str:
        shared = "" if self.mutual_information is None else f", mutual information {self.mutual_information.mean():.4g}"
        return f"Prediction(log_p {tuple(self.log_p.shape)}; means in nats: entropy {self.entropy.mean():.4g}{shared})"

    @classmethod
    def of_means(cls, log_p: Tensor, mean_entropy: Tensor) -> Prediction:
        """The predictive of several draws: log of the mean of their probabilities ``(n, classes)``, mean of their entropies.

        Mutual information of the class and the weights is what the draws disagree about, H(mean p) − mean H(p), at least 0
        (Houlsby 2011, arXiv 1112.5745, eq. 2); the rest of the entropy is what each draw is unsure of by itself.
        """
        return cls(log_p, (entropy(log_p) - mean_entropy).clamp(min=0))  # below 0 by rounding alone

    @property
    def entropy(self) -> Tensor:
        """Entropy of the predictive, ``(n,)`` in nats."""
        return entropy(self.log_p)


def predict(net: nn.Module, x: Any, *, num_samples: int = 20, likelihood: Observed | None = None) -> Prediction:
    """Predict class probabilities and their uncertainty, with an ordinary network or with a guide.

    Args:
        net: an ordinary network; or a guide, which predicts with draws of all latent sites of its model. One draw serves all
            inputs, so the Monte Carlo errors of inputs are not independent.
        x: inputs ``(n, …)``, as a tensor, array or list; or a data set, of which the test inputs are taken.
        num_samples: draws of a guide's predictive, at least 1.
        likelihood: of an observation given the output of an ordinary network, such as ``model.likelihood``; None for classes
            from logits. A guide's model has its own.

    Raises:
        InputError: neither a network nor a guide; inputs that do not fit the network; numbers are observed, see
            :func:`~pyro_vd.posterior.predictive`.
    """
    predictor = predictor_of("predict", net, num_samples, likelihood)
    x = predictor.check_inputs("x", x)
    means = predictor.means(x, None, class_scores)
    log_p = means["log_p"].to(x.device)
    return Prediction.of_means(log_p, means["entropy"].to(x.device)) if predictor.has_draws else Prediction(log_p)
