"""Class probabilities of plain networks and of posteriors, and how unsure they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.checks import check_inputs
from pyro_vd.evaluation.memory import rows_at_once
from pyro_vd.evaluation.observations import Observed, check_likelihood, distribution_of
from pyro_vd.evaluation.scores import class_scores
from pyro_vd.evaluation.uncertainty import entropy
from pyro_vd.guides.checks import check_hold, check_pair
from pyro_vd.networks.modes import in_evaluation_mode

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide
    from pyro_vd.models.bayesian import BayesianNetwork


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


@torch.no_grad()
def logits(net: nn.Module, x: Tensor) -> Tensor:
    """The network's outputs in evaluation mode, on its device, where ``x`` is; its modes are put back.

    As many examples at a time as :mod:`~pyro_vd.evaluation.memory` allows, all together where they cannot be run apart.
    """
    device = next((tensor.device for tensor in (*net.parameters(), *net.buffers())), x.device)
    with in_evaluation_mode(net):
        rows = rows_at_once(lambda k: net(x[:k].to(device)), len(x), device)
        return torch.cat([net(part.to(device)).to(x.device) for part in x.split(rows)])


def check_guide_given(function: str, net: nn.Module, guide: WeightGuide | None) -> None:
    """Refuse to hand a function what is no network, or a model without its guide: it would draw its weights from the prior.

    Raises:
        InputError: it is one.
    """
    if not isinstance(net, nn.Module) or hasattr(net, "site_names"):
        raise InputError(f"{function} was given a {type(net).__name__}; it takes a network, or a model and guide=...")
    if guide is not None:
        check_pair(net, guide)
    if guide is None and hasattr(net, "plain_network"):
        raise InputError(f"{type(net).__name__} has no weights of its own: give {function}(..., guide=...) as well")


@torch.no_grad()
def predict(
    net: nn.Module | BayesianNetwork,
    x: Any,
    *,
    guide: WeightGuide | None = None,
    num_samples: int = 20,
    hold: float | None = None,
    likelihood: Observed | None = None,
) -> Prediction:
    """Class probabilities and their uncertainty, of a plain network or the Monte Carlo predictive of a model and its guide.

    Arguments are those of :func:`evaluate`; ``x`` are inputs, as a tensor, array or list, or a data set's test inputs. All
    latent sites of a model are drawn, and one draw serves all inputs, so the Monte Carlo errors of inputs are not independent;
    see :func:`~pyro_vd.inference.joint_draws.joint_draws`.

    Raises:
        InputError: a model without its guide, or that does not fit it; inputs that do not fit the network; numbers are
            observed, see :func:`~pyro_vd.posterior.predictive`.
    """
    check_guide_given("predict", net, guide)
    num_samples, hold = check_number("num_samples", num_samples, low=1, high=LARGEST, whole=True), check_hold(hold, guide)
    check_likelihood(likelihood)
    x = check_inputs("x", x, net)
    if guide is None:
        distribution = distribution_of(likelihood, logits(cast(nn.Module, net), x).double())
        return Prediction(class_scores(distribution)["log_p"].to(x.device))
    from pyro_vd.inference.joint_draws import mean_draws

    means = mean_draws(cast("BayesianNetwork", net), guide, x, None, num_samples, class_scores, hold)
    return Prediction.of_means(means["log_p"].to(x.device), means["entropy"].to(x.device))
