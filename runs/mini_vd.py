"""Sparse variational dropout in one file, with torch and Pyro only, to be read from top to bottom.

Every weight of a network gets a posterior of its own, q(w) = N(θ, σ²), and a prior that does not care how large the weight is.
A weight that the data do not need turns into noise in training: its α = σ²/θ² grows without limit, and it can be set to zero.
No rate has to be chosen per layer. Equation numbers are those of Molchanov, Ashukha and Vetrov 2017, "Variational dropout
sparsifies deep neural networks" (arXiv 1701.05369), unless Kingma, Salimans and Welling 2015, "Variational dropout and the
local reparameterization trick" (arXiv 1506.02557), is named.

Run ``python runs/mini_vd.py``; it takes about ten seconds. pyro_vd does the same, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.distributions import kl_divergence, register_kl

SIZES = (64, 100, 10)  # units per layer, inputs first
EPOCHS, WARM_UP, BATCH, LR = 120, 40, 50, 3e-3
THRESHOLD = 3.0  # log α from which a weight is pruned: its noise is then at least 4.5 times its mean


class LogUniform(dist.TorchDistribution):
    """The prior, p(|w|) ∝ 1/|w|. It is improper: it has no finite integral, so nothing can be drawn from it."""

    arg_constraints: dict[str, Any] = {}

    def log_prob(self, value: Tensor) -> Tensor:
        return -value.abs().log()


class MultiplicativeNormal(dist.Normal):
    """The posterior q(w) = N(θ, σ²), with σ² = αθ². Learning log σ² gives θ a gradient of less variance than log α does."""

    def __init__(self, theta: Tensor, log_sigma2: Tensor) -> None:
        self.theta, self.log_sigma2 = theta, log_sigma2
        super().__init__(theta, (0.5 * log_sigma2).exp(), validate_args=False)


@register_kl(MultiplicativeNormal, LogUniform)
def kl(q: MultiplicativeNormal, p: LogUniform) -> Tensor:
    """KL(q‖p) per weight, up to a constant, as approximated in eq. 14: it depends on α alone, and is 0 at α = ∞."""
    inverse_alpha = q.theta.square() * (-q.log_sigma2).exp()
    log_alpha = -inverse_alpha.clamp_min(1e-30).log()  # at θ = 0 the gradient would be 0 · ∞, which is NaN
    return 0.63576 * torch.sigmoid(-1.87320 - 1.48695 * log_alpha) + 0.5 * torch.log1p(inverse_alpha)


class UndrawnWeight(NamedTuple):
    """What a weight site holds in training: all that a layer needs to draw its output instead of its weight."""

    mean: Tensor
    variance: Tensor


class LocalReparameterization(Messenger):
    """Pyro effect handler: a weight with a :class:`MultiplicativeNormal` is not drawn."""

    def _pyro_sample(self, msg: Any) -> None:
        q = msg["fn"].base_dist
        if isinstance(q, MultiplicativeNormal):
            msg["value"], msg["done"] = UndrawnWeight(q.theta, q.log_sigma2.exp()), True


def linear(x: Tensor, weight: Tensor | UndrawnWeight, bias: Tensor) -> Tensor:
    """Apply a linear layer; a Gaussian weight gives a Gaussian output, which is drawn here (Kingma 2015, eq. 6).

    So every example of a batch has noise of its own, and the gradient has far less variance than with one drawn weight for all.
    """
    if isinstance(weight, Tensor):
        return F.linear(x, weight, bias)
    mean, variance = F.linear(x, weight.mean, bias), F.linear(x.square(), weight.variance)
    return mean + (variance + 1e-16).sqrt() * torch.randn_like(mean)  # √ has an infinite slope at 0


class Model(nn.Module):
    """p(y, w | x): a fully connected ReLU network that classifies. Its weights have the prior, its biases have none."""

    def __init__(self, sizes: Sequence[int], num_data: int) -> None:
        super().__init__()
        self.shapes = [torch.Size(shape) for shape in zip(sizes[1:], sizes[:-1], strict=True)]
        self.biases = nn.ParameterList([torch.zeros(size) for size in sizes[1:]])
        self.num_data = num_data

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        hidden = x
        for layer, (shape, bias) in enumerate(zip(self.shapes, self.biases, strict=True)):
            weight = pyro.sample(f"weight{layer}", LogUniform(shape).to_event(2))
            hidden = linear(hidden.relu() if layer else hidden, weight, bias)
        # A batch of B examples stands for all N, so its log likelihood counts N/B times (eq. 4).
        with pyro.plate("data", len(x)), poutine.scale(scale=self.num_data / len(x)):
            pyro.sample("y", dist.Categorical(logits=hidden), obs=y)
        return hidden


class Guide(nn.Module):
    """q(w): an independent posterior for every weight, with much less noise at the start than it may have later."""

    def __init__(self, model: Model, log_sigma2: float = -10.0) -> None:
        super().__init__()
        self.thetas = nn.ParameterList([nn.init.kaiming_uniform_(torch.empty(shape), a=5**0.5) for shape in model.shapes])
        self.log_sigma2s = nn.ParameterList([torch.full(shape, log_sigma2) for shape in model.shapes])

    def forward(self, x: Tensor, y: Tensor | None = None) -> None:
        for layer, (theta, log_sigma2) in enumerate(zip(self.thetas, self.log_sigma2s, strict=True)):
            pyro.sample(f"weight{layer}", MultiplicativeNormal(theta, log_sigma2).to_event(2))


def elbo_terms(model: Model, guide: Guide, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The two terms of the objective (eq. 3): Σ log p(y|x, w) over all the data, as a batch estimates it, and KL(q‖p)."""
    guide_trace = poutine.trace(LocalReparameterization()(guide)).get_trace(x, y)
    model_trace = poutine.trace(poutine.replay(model, guide_trace)).get_trace(x, y)
    observed = model_trace.nodes["y"]
    log_likelihood = observed["scale"] * observed["fn"].log_prob(y).sum()
    sites = guide_trace.stochastic_nodes
    divergences = [kl_divergence(guide_trace.nodes[site]["fn"], model_trace.nodes[site]["fn"]) for site in sites]
    return log_likelihood, torch.stack(divergences).sum()


def train(model: Model, guide: Guide, x: Tensor, y: Tensor, epochs: int, warm_up: int) -> None:
    """Minimise −Σ log p(y|x, w) + β KL(q‖p) with Adam.

    β rises from 0 to 1 over the first ``warm_up`` epochs: with β = 1 at once, weights are pruned before they have learnt much.
    """
    optimizer = torch.optim.Adam([*model.parameters(), *guide.parameters()], lr=LR)
    for epoch in range(epochs):
        for batch in torch.randperm(len(x)).split(BATCH):
            log_likelihood, divergence = elbo_terms(model, guide, x[batch], y[batch])
            loss = -log_likelihood + min(1.0, epoch / warm_up) * divergence
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 20 == 19:
            print(f"epoch {epoch + 1:3}: loss {loss.item():7.1f}, of which KL {divergence.item():7.1f}")


@torch.no_grad()
def prune(guide: Guide) -> list[Tensor]:
    """The weights that are left, per layer: their means θ, and 0 where log α = log σ² − log θ² reaches the threshold."""
    pairs = zip(guide.thetas, guide.log_sigma2s, strict=True)
    return [theta * (log_sigma2 - theta.square().log() < THRESHOLD) for theta, log_sigma2 in pairs]


@torch.no_grad()
def error(model: Model, weights: Sequence[Tensor], x: Tensor, y: Tensor) -> float:
    """The share of wrong classes of the network with these weights."""
    logits = poutine.condition(model, data={f"weight{layer}": weight for layer, weight in enumerate(weights)})(x)
    return (logits.argmax(1) != y).double().mean().item()


def main() -> None:
    from sklearn.datasets import load_digits  # 1,797 images of 8 × 8 pixels, a part of scikit-learn

    pyro.set_rng_seed(0)
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    learn, test = torch.randperm(len(x)).split([1437, 360])
    model = Model(SIZES, num_data=len(learn))
    guide = Guide(model)
    train(model, guide, x[learn], y[learn], EPOCHS, WARM_UP)

    weights = prune(guide)
    total, left = sum(weight.numel() for weight in weights), sum(int(weight.count_nonzero()) for weight in weights)
    print(f"{left} of {total} weights are left, {total / left:.1f} times fewer")
    print(f"error on the test images: {100 * error(model, weights, x[test], y[test]):.2f} %")


if __name__ == "__main__":
    main()
