"""The Monte Carlo predictive: what its draws disagree about, and what it is asked for."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest
import torch
from support import refuses
from torch import nn

from pyro_vd import BayesianNetwork, VariationalDropout, evaluate, posterior_mean, predict
from pyro_vd._core.storage import as_json
from pyro_vd.evaluation.draws import DrawMeans
from pyro_vd.evaluation.prediction import Prediction
from pyro_vd.guides import PointEstimate
from pyro_vd.models import MLP, Bernoulli
from pyro_vd.posterior import predictive
from pyro_vd.workflow.tables import print_networks


def noisy_pair(net: nn.Module | None = None) -> tuple[BayesianNetwork, VariationalDropout]:
    model = BayesianNetwork(net) if net else MLP((6, 8, 4))
    return model, VariationalDropout(model, log_sigma2=-1.0)


def test_mutual_information_is_what_draws_disagree_about() -> None:
    x = torch.randn(40, 6)
    certain = PointEstimate(MLP((6, 8, 4)))
    assert predict(certain, x).mutual_information.abs().max() < 1e-12
    _, guide = noisy_pair()
    found = predict(guide, x)
    assert (found.mutual_information > 1e-3).all()
    assert (found.mutual_information < found.entropy).all()
    assert (found.entropy < math.log(4)).all()
    assert predict(guide, x, num_samples=1).mutual_information.max() == 0
    assert predict(nn.Linear(6, 3), x).mutual_information is None
    # Two equally likely weights, each sure of another class: all the entropy is mutual information.
    means = DrawMeans()
    means.add({"log_p": torch.tensor([[[0.0, -math.inf]], [[-math.inf, 0.0]]]), "entropy": torch.zeros(2, 1)})
    found = means.means()
    assert Prediction.of_means(found["log_p"], found["entropy"]).mutual_information.item() == pytest.approx(math.log(2))


def test_zeros_and_ones_are_two_classes() -> None:
    model = BayesianNetwork(nn.Linear(6, 3), Bernoulli())
    guide, x = VariationalDropout(model, log_sigma2=-1.0), torch.randn(10, 6)

    torch.manual_seed(1)
    p = predictive(guide, x, 50)
    assert p.shape == (10, 3)
    torch.manual_seed(1)
    found = predict(guide, x, num_samples=50)
    expected = torch.stack([1 - p, p], -1).flatten(0, 1)
    torch.testing.assert_close(found.log_p.exp().float(), expected, rtol=1e-5, atol=1e-6)
    assert (found.mutual_information > 0).all()
    plain = posterior_mean(guide)
    one = predict(plain, x, likelihood=model.likelihood).log_p[:, 1]
    torch.testing.assert_close(one, plain(x).double().sigmoid().log().flatten())


def test_evaluate_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    _model, guide = noisy_pair()
    data = torch.randn(50, 6), torch.randint(4, (50,))
    metrics = evaluate(guide, data, num_samples=200)
    predicted = predict(guide, data[0], num_samples=200)
    assert metrics.entropy == pytest.approx(predicted.entropy.mean().item(), rel=0.02)
    assert predicted.mutual_information is not None
    assert metrics.mutual_information == pytest.approx(predicted.mutual_information.mean().item(), rel=0.05)
    plain = evaluate(nn.Linear(6, 4), data)
    assert (plain.mutual_information, plain.entropy > 0) == (None, True)
    new = json.loads(as_json({"Monte Carlo": asdict(metrics), "plain": asdict(plain)}))
    later = ("entropy", "mutual_information", "ece_equal_mass", "perplexity", "macro_f1", "mean_iou", "prior_share", "deployed")
    old = {key: value for key, value in new["plain"].items() if key not in later}
    print_networks("runs", {**new, "by an earlier version": old})
    quality, sizes = capsys.readouterr().out.split("\nsize ")
    for table, dashes in ((quality, [0, 1, 3]), (sizes, [0, 0, 4])):
        lines = {line[:22].strip(): line[22:].split() for line in table.splitlines()}
        assert [lines[name].count("–") for name in (*new, "by an earlier version")] == dashes
    assert f"{metrics.mutual_information:.3f}" in quality


@pytest.mark.parametrize(
    ("x", "value", "mentioned"),
    [
        (torch.rand(5, 7), (7,), []),
        (torch.rand(4), (4,), []),
        (torch.rand(0, 4), (0, 4), []),
        (torch.rand(5, 4).double(), torch.float64, ["float64", "float32"]),
        (torch.ones(5, 4, dtype=torch.int64), (4,), ["Long"]),
        (torch.tensor([[1.0, 2, 3, 4], [1, math.nan, 3, math.inf]]), 2, ["example 1"]),
        ({"x": [1.0]}, {"x": ()}, ["unexpected keyword argument 'x'"]),
        ({1.0}, {1.0}, ["set"]),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x: Any, value: object, mentioned: list[str]) -> None:
    model = MLP([4, 5, 3])
    guide = VariationalDropout(model)
    for call in (
        lambda: predict(posterior_mean(guide), x),
        lambda: predict(guide, x),
        lambda: predictive(guide, x),
    ):
        with refuses("x", value, *mentioned):
            call()


def test_whole_numbers_are_inputs_of_a_network_that_takes_them() -> None:
    net = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2))
    x = torch.randint(0, 10, (5, 3))
    assert predict(net, x).log_p.shape == (5, 2)
    model = BayesianNetwork(net)
    p = predictive(VariationalDropout(model), x)
    torch.testing.assert_close(p.sum(1), torch.ones(5))


def test_a_network_may_have_a_part_called_predictor() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.predictor, self.site_names, self.model, self.to_module = nn.Linear(6, 4), ["a"], nn.Linear(1, 1), nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.predictor(x)

    net, x = Net(), torch.randn(9, 6)
    torch.testing.assert_close(predict(net, x).log_p, net(x).double().log_softmax(-1))
    assert evaluate(net, (x, torch.arange(9) % 4)).compression == 1
    assert predict(VariationalDropout(BayesianNetwork(net)), x, num_samples=2).log_p.shape == (9, 4)
