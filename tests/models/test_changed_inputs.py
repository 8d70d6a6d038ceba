"""Networks that change their inputs in place: every pass starts from the inputs as they were given."""

from __future__ import annotations

import copy

import pytest
import torch
from support import refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, evaluate, fit, predict, prune
from pyro_vd.evaluation import Metrics, Prediction


class Standardizing(nn.Module):
    """Standardizes its inputs in place before the first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.sub_(1.0).div_(2.0))


@pytest.mark.parametrize("compute", ["evaluate", "predict", "pruned"])
def test_each_draw_sees_the_inputs_as_given(compute: str) -> None:
    torch.manual_seed(0)
    net = Standardizing()
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    given = x.clone()
    wanted = copy.deepcopy(net)(x.clone()).double().log_softmax(-1)
    guide = VariationalDropout(BayesianNetwork(net), log_sigma2=-60.0)
    if compute == "predict":
        prediction = predict(guide, x, num_samples=4)
        assert isinstance(prediction, Prediction)
        torch.testing.assert_close(prediction.log_p, wanted, rtol=1e-5, atol=1e-5)
    else:
        metrics = evaluate(guide if compute == "evaluate" else prune(guide), (x, y), num_samples=4)
        assert isinstance(metrics, Metrics)
        assert metrics.nll == pytest.approx(-wanted[torch.arange(12), y].mean().item(), rel=1e-5)
    assert torch.equal(x, given)


def test_training_leaves_the_inputs_as_given() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    given = x.clone()
    fit(VariationalDropout(BayesianNetwork(Standardizing())), (x, y), epochs=2, progress=False)
    assert torch.equal(x, given)


def test_a_batch_without_examples_is_refused() -> None:
    model = BayesianNetwork(nn.Linear(4, 3))
    with refuses("x"):
        model(torch.randn(0, 4))
