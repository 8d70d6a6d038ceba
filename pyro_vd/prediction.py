"""Class probabilities of plain networks and of posteriors, and how unsure they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from pyro_vd.arguments import LARGEST, check_number
from pyro_vd.checks import check_inputs
from pyro_vd.errors import InputError
from pyro_vd.modes import in_evaluation_mode
from pyro_vd.objects import check_hold, check_likelihood, check_pair
from pyro_vd.observations import Observed, class_log_p
from pyro_vd.uncertainty import entropy

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide
    from pyro_vd.models.bayesian import BayesianNetwork

BATCH = 2048


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
    def of_draws(cls, log_p: Tensor) -> Prediction:
        """The predictive of draws ``(S, n, classes)``: the mean of their probabilities.

        Mutual information of the class and the weights is what the draws disagree about, H(mean p) − mean H(p), at least 0
        (Houlsby 2011, arXiv 1112.5745, eq. 2); the rest of the entropy is what each draw is unsure of by itself.
        """
        mean = log_p.logsumexp(0) - math.log(len(log_p))
        return cls(mean, (entropy(mean) - entropy(log_p).mean(0)).clamp(min=0))  # below 0 by rounding alone

    @property
    def entropy(self) -> Tensor:
        """Entropy of the predictive, ``(n,)`` in nats."""
        return entropy(self.log_p)


@torch.no_grad()
def logits(net: nn.Module, x: Tensor) -> Tensor:
    """The network's outputs in evaluation mode, batch by batch on its device, where ``x`` is; its modes are put back."""
    device = next((tensor.device for tensor in (*net.parameters(), *net.buffers())), x.device)
    with in_evaluation_mode(net):
        return torch.cat([net(part.to(device)).to(x.device) for part in x.split(BATCH)])


def check_guide(function: str, net: nn.Module, guide: WeightGuide | None) -> None:
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

    Arguments are those of :func:`evaluate`; ``x`` are inputs, as a tensor, array or list, or a data set's test inputs.

    Of a guide only weights are drawn, each input with weights of its own; for a
    model with latent sites of its own see :func:`~pyro_vd.sampling.joint_draws`.

    Raises:
        InputError: a model without its guide; inputs that do not fit the network; numbers are observed, see
            :func:`~pyro_vd.predictive`.
    """
    check_guide("predict", net, guide)
    num_samples, hold = check_number("num_samples", num_samples, low=1, high=LARGEST, whole=True), check_hold(hold, guide)
    check_likelihood(likelihood)
    x = check_inputs("x", x, net)
    if guide is None:
        return Prediction(class_log_p(logits(cast(nn.Module, net), x)[None], likelihood)[0])
    from pyro_vd.posterior import log_predictive_draws

    model = cast("BayesianNetwork", net)
    parts = [Prediction.of_draws(log_predictive_draws(model, guide, part, num_samples, hold)) for part in x.split(BATCH)]
    mutual_information = torch.cat([cast(Tensor, part.mutual_information) for part in parts])
    return Prediction(torch.cat([part.log_p for part in parts]), mutual_information)
