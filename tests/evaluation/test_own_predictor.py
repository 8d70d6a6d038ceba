"""A predictor of a user's own, an ensemble of two networks: it is predicted with and measured as networks and guides are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn
from torch.distributions import Categorical

from pyro_vd import evaluate, predict
from pyro_vd.data.dataset import Data
from pyro_vd.evaluation import Metrics, Predictor
from pyro_vd.evaluation.checks import check_inputs, check_network
from pyro_vd.evaluation.draws import DrawMeans, Draws, stack
from pyro_vd.evaluation.network_size import NetworkSize, network_size
from pyro_vd.evaluation.predictors import Observe
from pyro_vd.evaluation.uncertainty import entropy
from pyro_vd.models import Bernoulli


class Ensemble:
    """Predicts classes with the mean of the probabilities of its networks."""

    has_draws = True

    def __init__(self, *nets: nn.Module) -> None:
        self.nets = nn.ModuleList(nets)

    def check_inputs(self, name: str, x: Any) -> Tensor:
        return check_inputs(name, x, self.nets[0])

    def check_data(self, name: str, data: Data) -> tuple[Tensor, Tensor]:
        return check_network(name, data, self.nets[0], None, part="test")

    @torch.no_grad()
    def means(self, x: Tensor, y: Tensor | None, observe: Observe) -> Draws:
        means = DrawMeans()
        means.add(stack([observe(Categorical(logits=net(x).double()), y) for net in self.nets]))
        return means.means()

    def size(self, x: Tensor) -> NetworkSize:
        return network_size(self.nets, x[:0])


def test_an_ensemble_of_two_networks_is_predicted_with_and_measured() -> None:
    nets = [nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)) for _ in range(2)]
    x, y = torch.randn(30, 6), torch.randint(3, (30,))
    p = torch.stack([net(x).detach().double().softmax(-1) for net in nets])
    both = Ensemble(*nets)

    found = predict(both, x)
    torch.testing.assert_close(found.log_p.exp(), p.mean(0))
    disagreement = entropy(p.mean(0).log()) - entropy(p.log()).mean(0)
    torch.testing.assert_close(found.mutual_information, disagreement)

    metrics = evaluate(both, (x, y))
    assert isinstance(metrics, Metrics)
    assert metrics.nll == pytest.approx(-p.mean(0)[torch.arange(30), y].log().mean().item())
    assert metrics.mutual_information == pytest.approx(disagreement.mean().item())
    assert sum(layer.weights for layer in metrics.layers if layer.site.endswith("weight")) == 2 * (6 * 5 + 5 * 3)

    alone = evaluate(Ensemble(nets[0]), (x, y))
    assert isinstance(alone, Metrics)
    assert alone.nll == pytest.approx(evaluate(nets[0], (x, y)).nll)
    assert alone.mutual_information == pytest.approx(0, abs=1e-12)


def test_what_is_no_predictor_is_refused() -> None:
    x, both = torch.randn(4, 6), Ensemble(nn.Linear(6, 3))
    assert isinstance(both, Predictor)
    with refuses("likelihood", "Bernoulli"):
        predict(both, x, likelihood=Bernoulli())
    for given in (Ensemble, [both], "both"):
        with refuses("net", ANYTHING):
            predict(given, x)  # type: ignore[arg-type]
