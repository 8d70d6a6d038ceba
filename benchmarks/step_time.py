"""Time of one training step at batch 100: ours beside other ways to write it, interleaved in one process.

Every contender takes the same steps: loss, gradients, Adam. Run ``python benchmarks/step_time.py --net lenet5``. On one thread,
times are those that the thread had a processor, which other programs change less than those of the clock.
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

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO
from pyro_vd.distributions import LogUniform, MultiplicativeNormal
from pyro_vd.distributions.priors import KLForm
from pyro_vd.inference.compiled_step import CompiledStep
from pyro_vd.networks.precision import Precision, lowered
from pyro_vd.networks.ready import lenet5, mlp

NETWORKS: dict[str, Callable[[], nn.Sequential]] = {
    "784-300-10": partial(mlp, (784, 300, 10)),
    "784-300-100-10": partial(mlp, (784, 300, 100, 10)),
    "lenet5": lenet5,
    "3x1024": partial(mlp, (784, 1024, 1024, 1024, 10)),
}
NUM_DATA, BATCH, CLASSES = 60_000, 100, 10
OURS, BASE = "pyro_vd", "deterministic network, fused Adam"
Step = Callable[[Tensor, Tensor], None]


class NotebookLayer(nn.Module):
    """A layer as the authors' notebook has it: local reparameterization, the KL left to autograd, log α clamped."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.theta = nn.Parameter(layer.weight.detach().clone())
        self.log_sigma = nn.Parameter(torch.full_like(self.theta, -5.0))
        self.bias = nn.Parameter(torch.zeros(len(self.theta)))
        self.map = F.linear if isinstance(layer, nn.Linear) else F.conv2d

    def forward(self, x: Tensor) -> Tensor:
        mean = self.map(x, self.theta, self.bias)
        std = (self.map(x * x, (2 * self.log_sigma).exp()) + 1e-8).sqrt()
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


def deterministic(net: nn.Module, fused: bool) -> Step:
    return stepper(net, lambda x, y: F.cross_entropy(net(x), y), fused)


def notebook(net: nn.Sequential, fused: bool) -> Step:
    net = nn.Sequential(*(NotebookLayer(each) if isinstance(each, nn.Linear | nn.Conv2d) else each for each in net))
    layers = [each for each in net if isinstance(each, NotebookLayer)]
    kl = partial(sum, start=torch.zeros(()))
    return stepper(net, lambda x, y: NUM_DATA * F.cross_entropy(net(x), y) + kl(layer.kl() for layer in layers), fused)


def with_pyro(
    net: nn.Module, elbo: ELBO, guide: type[VariationalDropout] = VariationalDropout, kl: KLForm = "approximate"
) -> Step:
    model = BayesianNetwork(net, num_data=NUM_DATA, prior=partial(LogUniform, kl=kl))
    loss = elbo(model, guide(model))
    return stepper(loss, loss)


def ours(net: nn.Module, kl: KLForm = "approximate") -> Step:
    """A step as ``pyro_vd.fit`` takes it, without its guard."""
    model = BayesianNetwork(net, num_data=NUM_DATA, prior=partial(LogUniform, kl=kl))
    guide, elbo = VariationalDropout(model), VariationalDropoutELBO()
    optimizer = torch.optim.Adam(elbo(model, guide).parameters(), lr=1e-3, fused=True)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        elbo.backward(model, guide, x, y)
        optimizer.step()

    return step


def ours_compiled(net: nn.Module, x: Tensor, y: Tensor, precision: Precision = "full", verbose: bool = True) -> Step:
    """The same step as ``pyro_vd.fit`` takes it with ``compile=True``."""
    model = BayesianNetwork(net, num_data=NUM_DATA)
    guide, elbo = VariationalDropout(model), VariationalDropoutELBO()
    elbo.try_out(model, guide, x, y)
    optimizer = torch.optim.Adam(elbo(model, guide).parameters(), lr=1e-3, fused=True)
    with lowered(model, precision):
        compiled = CompiledStep(elbo, model.train(), guide, x, y)
    if verbose:
        print(f"pyro_vd, compiled in {compiled.seconds:.1f} s")

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        compiled.backward(x, y)
        optimizer.step()

    return step


def deterministic_compiled(net: nn.Module, device: torch.device) -> Step:
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    loss = torch.compile(lambda x, y: F.cross_entropy(net(x), y), dynamic=False, mode=mode)
    return stepper(net, loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", choices=NETWORKS, default="784-300-10", help="the network (default: 784-300-10)")
    parser.add_argument("--rounds", type=int, default=200, help="timed steps of each contender (default: 200)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument("--compile", action="store_true", help="with compiled steps too, ours and the deterministic one")
    parser.add_argument("--device", default="cpu", help="cpu or cuda; on a GPU a round is ten steps (default: cpu)")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    steps = 10 if device.type == "cuda" else 1
    torch.set_num_threads(arguments.threads)
    pyro.set_rng_seed(0)
    x, y = torch.rand(BATCH, 1, 28, 28, device=device), torch.randint(CLASSES, (BATCH,), device=device)

    def made() -> nn.Sequential:
        return NETWORKS[arguments.net]().to(device)

    contenders = {
        OURS: ours(made()),
        "pyro_vd, exact KL": ours(made(), kl="exact"),
        "pyro_vd, elbo(model, guide) and backward()": with_pyro(made(), VariationalDropoutELBO()),
        "plain PyTorch, the notebook's way": notebook(made(), fused=False),
        "plain PyTorch, the notebook's way, fused Adam": notebook(made(), fused=True),
        "TraceMeanField_ELBO, sampled weights": with_pyro(made(), TraceMeanField_ELBO(), StockGuide),
        "the same with pyro_vd's KL": with_pyro(made(), TraceMeanField_ELBO()),
        "deterministic network": deterministic(made(), fused=False),
        BASE: deterministic(made(), fused=True),
    }
    if arguments.compile:
        contenders["pyro_vd, compiled"] = ours_compiled(made(), x, y)
        contenders["pyro_vd, compiled, bf16-mixed"] = ours_compiled(made(), x, y, "bf16-mixed")
        contenders["deterministic network, fused Adam, compiled"] = deterministic_compiled(made(), device)
    clock = time.thread_time if arguments.threads == 1 and device.type == "cpu" else time.perf_counter
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for round_ in range(arguments.rounds + 20):
        for name, step in contenders.items():
            started = clock()
            for _ in range(steps):
                step(x, y)
            if device.type == "cuda":
                torch.cuda.synchronize()
            if round_ >= 20:
                times[name].append((clock() - started) / steps)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{arguments.net}, {device}, batch {BATCH}, {arguments.threads} thread(s), median of {arguments.rounds} steps")
    for name, median in medians.items():
        ratios = f"{median / medians[BASE]:6.2f} of deterministic{medians[OURS] / median:9.2f} = pyro_vd / this"
        print(f"{name:45}{1e3 * median:8.2f} ms{ratios}")


if __name__ == "__main__":
    main()
