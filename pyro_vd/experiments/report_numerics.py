"""The report's own numerics, written out for one experiment, which shows where they end in NaN. Not for use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_K1, _K2, _K3 = 0.63576, 1.87320, 1.48695


class ReportLayer(nn.Module):
    """Variational dropout on a linear layer with log θ² and √var unguarded, left to autograd."""

    def __init__(self, inputs: int, outputs: int, log_sigma2: float) -> None:
        super().__init__()
        bound = outputs**-0.5
        self.theta: nn.Parameter = nn.Parameter(torch.empty(outputs, inputs).uniform_(-bound, bound))
        self.log_sigma2: nn.Parameter = nn.Parameter(torch.full((outputs, inputs), log_sigma2))
        self.bias: nn.Parameter = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        std = F.linear(x * x, self.log_sigma2.exp()).sqrt()
        return F.linear(x, self.theta, self.bias) + std * torch.randn_like(std)

    def kl(self) -> Tensor:
        """The KL of all weights, as in Molchanov 2017, eq. 14."""
        log_alpha = self.log_sigma2 - torch.log(self.theta**2)
        negative = _K1 * torch.sigmoid(_K2 + _K3 * log_alpha) - 0.5 * torch.log1p((-log_alpha).exp()) - _K1
        return -negative.sum()


class ReportNetwork(nn.Module):
    """A network with one hidden layer. Its data term is N/B times a *mean*, as in the report: the KL is B times too heavy."""

    def __init__(self, sizes: tuple[int, int, int], log_sigma2: float, factor: float) -> None:
        super().__init__()
        self.first: ReportLayer = ReportLayer(*sizes[:2], log_sigma2)
        self.second: ReportLayer = ReportLayer(*sizes[1:], log_sigma2)
        self.factor = factor

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        logits = self.second(F.relu(self.first(x.flatten(1))))
        return self.factor * F.cross_entropy(logits, y) + self.first.kl() + self.second.kl()
