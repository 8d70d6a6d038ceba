"""The contenders of ``step_time.py``: ways to write a training step, each a function of a batch.

Every contender takes the same steps: loss, gradients, Adam.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from pyro.infer.elbo import ELBO
from step_peers import peer
from torch import Tensor, nn
from torch.distributions import register_kl

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO
from pyro_vd.distributions import LogUniform, MultiplicativeNormal
from pyro_vd.distributions.priors import KLForm
from pyro_vd.inference.compiled_step import CompiledStep
from pyro_vd.networks.precision import Precision, lowered
from pyro_vd.training.fused_adam import FusedAdam

NUM_DATA = 60_000
Step = Callable[[Tensor, Tensor], None]


class NotebookLayer(nn.Module):
    """A layer as the authors' notebook has it: local reparameterization, the KL left to autograd, log α clamped."""

    def __init__(self, layer: nn.Linear | nn.Conv2d) -> None:
        super().__init__()
        self.theta = nn.Parameter(layer.weight.detach().clone())
        self.log_sigma = nn.Parameter(torch.full_like(self.theta, -5.0))
        self.bias = None if layer.bias is None else nn.Parameter(torch.zeros(len(self.theta)))
        self.map: Callable[..., Tensor] = F.linear
        if isinstance(layer, nn.Conv2d):
            self.map = partial(F.conv2d, stride=layer.stride, padding=layer.padding)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.map(x, self.theta, self.bias)
        std = (self.map(x * x, (2 * self.log_sigma).exp()) + 1e-8).sqrt()
        return mean + std * torch.randn_like(std)

    def kl(self) -> Tensor:
        return formula(self.theta, 2 * self.log_sigma).sum()


def with_notebook_layers(net: nn.Module) -> nn.Module:
    for name, child in net.named_children():
        is_layer = isinstance(child, nn.Linear | nn.Conv2d)
        setattr(net, name, NotebookLayer(child) if is_layer else with_notebook_layers(child))
    return net


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


def notebook(net: nn.Module, fused: bool) -> Step:
    net = with_notebook_layers(net)
    layers = [each for each in net.modules() if isinstance(each, NotebookLayer)]
    kl = partial(sum, start=torch.zeros(()))
    return stepper(net, lambda x, y: NUM_DATA * F.cross_entropy(net(x), y) + kl(layer.kl() for layer in layers), fused)


def of_peer(name: str, net: nn.Module) -> Step | None:
    made = peer(name, net)
    if made is None:
        return None
    return stepper(made[0], lambda x, y: NUM_DATA * F.cross_entropy(made[0](x), y) + made[1]())


def with_pyro(
    net: nn.Module, elbo: ELBO, guide: type[VariationalDropout] = VariationalDropout, kl: KLForm = "approximate"
) -> Step:
    model = BayesianNetwork(net, num_data=NUM_DATA, prior=partial(LogUniform, kl=kl))
    loss = elbo(model, guide(model))
    return stepper(loss, loss)


def ours(net: nn.Module, kl: KLForm = "approximate", drawn_once: bool = False) -> Step:
    """A step as ``pyro_vd.fit`` takes it, without its guard; with ``drawn_once`` each weight is drawn once per batch."""
    prior = partial(LogUniform, kl=kl)
    model = BayesianNetwork(net, num_data=NUM_DATA, prior=prior)
    if drawn_once:
        model = BayesianNetwork(net, num_data=NUM_DATA, prior=prior, shared=model.weight_names)
    guide, elbo = VariationalDropout(model), VariationalDropoutELBO()
    optimizer = FusedAdam([{"params": list(elbo(model, guide).parameters())}], lr=1e-3)

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
    optimizer = FusedAdam([{"params": list(elbo(model, guide).parameters())}], lr=1e-3)
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
