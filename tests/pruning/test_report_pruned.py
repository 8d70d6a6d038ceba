"""What a training says at its end about the pruned network never ends it, whatever the network takes and gives."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, fit

DATA = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3


def trained(net: nn.Module, likelihood: Any = None, log_sigma2: float = -8.0) -> None:
    torch.manual_seed(0)
    guide = VariationalDropout(BayesianNetwork(net, likelihood), log_sigma2=log_sigma2)
    fit(guide, DATA, epochs=1, batch_size=20, lr=1e-6, progress=False)


def test_a_network_of_one_size_of_batches(caplog: pytest.LogCaptureFixture) -> None:
    class Whole(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.view(20, 6))

    trained(Whole(6, 3))
    assert not caplog.records


class Masked(nn.Module):
    """Gives a mask beside the logits; they are constant where the last layer reads no unit that depends on the inputs."""

    def __init__(self, is_constant: bool) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 2), nn.Linear(2, 3)
        with torch.no_grad():
            self.first.weight[0] *= 1 - is_constant
            self.last.weight[:, 1] *= 1 - is_constant

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.last(self.first(x))
        return {"mask": x[:, 0] > 9, "logits": y}


@pytest.mark.parametrize("is_constant", [False, True])
def test_a_network_that_gives_a_mask_beside_its_logits(caplog: pytest.LogCaptureFixture, is_constant: bool) -> None:
    trained(Masked(is_constant), lambda output: dist.Categorical(logits=output["logits"]))
    assert [record.getMessage()[:59] for record in caplog.records] == [
        "pruned by its rule, the network predicts the same for each "
    ] * is_constant
