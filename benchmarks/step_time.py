"""Time of one training step, 784-300-10 at batch 100: ours beside other ways to write it, interleaved in one process.

Every contender takes the same steps: loss, gradients, fused Adam. Run ``python benchmarks/step_time.py``.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import pyro
import torch
import torch.nn.functional as F
from pyro.infer import TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from torch import Tensor, nn
from torch.distributions import register_kl

from pyro_vd import VariationalDropout, VariationalDropoutELBO
from pyro_vd.distributions import LogUniform, MultiplicativeNormal
from pyro_vd.distributions.priors import KLForm
from pyro_vd.models import MLP

SIZES = (784, 300, 10)
NUM_DATA, BATCH = 60_000, 100
Step = Callable[[Tensor, Tensor], None]


class NotebookLayer(nn.Module):
    """A layer as the authors' notebook has it: local reparameterization, the KL left to autograd, log α clamped."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.theta = nn.Parameter(0.02 * torch.randn(outputs, inputs))
        self.log_sigma = nn.Parameter(torch.full((outputs, inputs), -5.0))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        mean = F.linear(x, self.theta) + self.bias
        std = (F.linear(x * x, (2 * self.log_sigma).exp()) + 1e-8).sqrt()
        return mean + std * torch.randn_like(std)

    def kl(self) -> Tensor:
        return formula(self.theta, 2 * self.log_sigma).sum()


def formula(theta: Tensor, log_sigma2: Tensor) -> Tensor:
    """KL of Molchanov 2017, eq. 14, as it stands there, for autograd to differentiate."""
    log_alpha = (log_sigma2 - 2 * (1e-16 + theta.abs()).log()).clamp(-10, 10)
    negative = 0.63576 * torch.sigmoid(1.87320 + 1.48695 * log_alpha) - 0.5 * torch.log1p((-log_alpha).exp()) - 0.63576
    return -negative


class StockPosterior(MultiplicativeNormal):
    """The same posterior, its KL registered the way a user of Pyro alone would write it."""


class StockGuide(VariationalDropout):
    def posterior(self, name: str) -> MultiplicativeNormal:
        site = self.site(name)
        return StockPosterior(site.theta, site.log_sigma2, validate_args=False)


@register_kl(StockPosterior, LogUniform)
def _stock_kl(q: StockPosterior, p: LogUniform) -> Tensor:
    return formula(q.theta, q.log_sigma2)


def stepper(module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], fused: bool = True) -> Step:
    """One step of Adam on ``loss``: fused as ``pyro_vd.fit`` has it, or as torch.optim.Adam comes."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=fused or None)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        loss(x, y).backward()
        optimizer.step()

    return step


def deterministic(fused: bool) -> Step:
    net = nn.Sequential(nn.Linear(SIZES[0], SIZES[1]), nn.ReLU(), nn.Linear(SIZES[1], SIZES[2]))
    return stepper(net, lambda x, y: F.cross_entropy(net(x), y), fused)


def notebook(fused: bool) -> Step:
    first, second = NotebookLayer(SIZES[0], SIZES[1]), NotebookLayer(SIZES[1], SIZES[2])
    net = nn.Sequential(first, nn.ReLU(), second)
    return stepper(net, lambda x, y: NUM_DATA * F.cross_entropy(net(x), y) + first.kl() + second.kl(), fused)


def with_pyro(elbo: ELBO, guide: type[VariationalDropout] = VariationalDropout, kl: KLForm = "approximate") -> Step:
    model = MLP(SIZES, num_data=NUM_DATA, prior=partial(LogUniform, kl=kl))
    loss = elbo(model, guide(model))
    return stepper(loss, loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="timed steps of each contender (default: 200)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    pyro.set_rng_seed(0)
    contenders = {
        "pyro_vd": with_pyro(VariationalDropoutELBO()),
        "pyro_vd, exact KL": with_pyro(VariationalDropoutELBO(), kl="exact"),
        "plain PyTorch, the notebook's way": notebook(fused=False),
        "plain PyTorch, the notebook's way, fused Adam": notebook(fused=True),
        "TraceMeanField_ELBO, sampled weights": with_pyro(TraceMeanField_ELBO(), StockGuide),
        "the same with pyro_vd's KL": with_pyro(TraceMeanField_ELBO()),
        "deterministic network": deterministic(fused=False),
        "deterministic network, fused Adam": deterministic(fused=True),
    }
    x, y = torch.rand(BATCH, SIZES[0]), torch.randint(SIZES[-1], (BATCH,))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(arguments.rounds + 20):
        for name, step in contenders.items():
            started = time.perf_counter()
            step(x, y)
            if round_ >= 20:
                times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours = medians["pyro_vd"]
    print(f"{'-'.join(map(str, SIZES))}, batch {BATCH}, {arguments.threads} thread(s), median of {arguments.rounds} steps")
    for name, median in medians.items():
        print(f"{name:45}{1e3 * median:8.2f} ms   pyro_vd / this = {ours / median:.2f}")


if __name__ == "__main__":
    main()
