"""Every predictive function against draws of whole weights made by hand, whatever the network and the guide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import refuses
from torch import Tensor, nn

from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    VariationalDropout,
    evaluate,
    load_data,
    log_alpha,
    predict,
    to_inference_data,
)
from pyro_vd.distributions.priors import LogUniform, NormalJeffreys
from pyro_vd.distributions.unit_posterior import UnitPosterior
from pyro_vd.guides import BernoulliDropout, GaussianDropout, LogNormalDropout, PointEstimate, WeightGuide
from pyro_vd.posterior import predictive
from pyro_vd.posterior.arviz_files import to_tree

DRAWS, BLOCKS = 20, 10
EXAMPLES = 30


class Tokens(nn.Module):
    """Linear layers applied to each of 50 tokens, and their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).tanh()).mean(1)


class Tied(nn.Module):
    """One weight used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).relu())[:, :4]


class Branching(nn.Module):
    """Decides by a value, which ``torch.vmap`` does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.linear(x)
        return output if output.sum() > 0 else output + 1


class Attention(nn.Module):
    """Has a fast path in evaluation mode that ``torch.vmap`` has no rule for."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.linear = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.linear(self.attention(x, x, x)[0].mean(1))
        return output


def pooled() -> nn.Module:
    layers = (nn.Conv2d(1, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *layers, nn.Flatten(), nn.Linear(8, 10))


def convolutions() -> nn.Module:
    layers = (nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *layers, nn.Flatten(), nn.Linear(8, 10))


def digits() -> tuple[Tensor, Tensor]:
    data = load_data("digits")
    return data.x_train[:EXAMPLES].flatten(1), data.y_train[:EXAMPLES]


def random(*shape: int) -> Callable[[], tuple[Tensor, Tensor]]:
    return lambda: (torch.randn(EXAMPLES, *shape), torch.randint(4, (EXAMPLES,)))


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, Tensor]]]] = {
    "convolutions": (convolutions, digits),
    "transposed": (pooled, digits),
    "tokens": (Tokens, random(50, 5)),
    "tied": (Tied, random(6)),
    "branching": (Branching, random(6)),
    "attention": (Attention, random(7, 4)),
}


def masked(model: BayesianNetwork) -> WeightGuide:
    guide = VariationalDropout(model, -2.0)
    guide.apply_masks({name: torch.rand_like(w) < 0.7 for name, w in model.initial_weights.items()})
    return guide


GUIDES: dict[str, tuple[Callable[[BayesianNetwork], WeightGuide], Any, float | None]] = {
    "variational": (lambda model: VariationalDropout(model, -2.0), LogUniform, None),
    "held": (lambda model: VariationalDropout(model, -2.0), LogUniform, 0.5),
    "shared-alpha": (lambda model: VariationalDropout(model, -1.0, alpha_sharing="row"), LogUniform, None),
    "masked": (masked, LogUniform, None),
    "gaussian": (lambda model: GaussianDropout(model, 0.3), LogUniform, None),
    "gaussian-units": (lambda model: GaussianDropout(model, 0.3, noise_on="unit"), LogUniform, None),
    "bernoulli": (lambda model: BernoulliDropout(model, 0.4), LogUniform, None),
    "group": (lambda model: GroupVariationalDropout(model, log_sigma2=-2.0), NormalJeffreys, None),
    "group-held": (lambda model: GroupVariationalDropout(model, log_sigma2=-2.0), NormalJeffreys, -2.0),
    "log-normal": (lambda model: LogNormalDropout(model, log_sigma2=-2.0), LogUniform, None),
    "point": (PointEstimate, LogUniform, None),
}
CASES = [
    *(("tokens", guide) for guide in GUIDES),
    *(("convolutions", guide) for guide in GUIDES),
    ("transposed", "variational"),
    ("tied", "variational"),
    ("branching", "variational"),
    ("attention", "variational"),
]


def pair(net: str, kind: str) -> tuple[BayesianNetwork, WeightGuide, float | None, tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    make, data = NETS[net]
    guide, prior, hold = GUIDES[kind]
    model = BayesianNetwork(make(), prior=prior)
    for weight in model.initial_weights.values():
        weight.mul_(3)
    made = guide(model)
    for name in made.site_names if kind == "group-held" else ():
        with torch.no_grad():
            made.site(name).z_mu.uniform_(0.5, 2)
    made.train_threshold = hold
    return model, made, hold, data()


def weights_by_hand(guide: WeightGuide, hold: float | None) -> dict[str, Tensor]:
    drawn = {}
    for name in guide.site_names:
        q = guide.posterior(name)
        drawn[name] = q.sample()
        if hold is not None:
            held = log_alpha(guide)[name] >= hold
            drawn[name] = drawn[name].masked_fill(held, 0) if isinstance(q, UnitPosterior) else drawn[name] - q.mean * held
    return drawn


def uncertainty(p: Tensor, y: Tensor) -> Tensor:
    """Mean mutual information and NLL of draws of probabilities ``(S, n, classes)``."""
    p = p.double()
    mean = p.mean(0)
    information = torch.special.entr(mean).sum(-1) - torch.special.entr(p).sum(-1).mean(0)
    return torch.stack([information.mean(), F.nll_loss(mean.log(), y)])


def agree(a: list[Tensor], b: list[Tensor]) -> bool:
    """Whether the means of what blocks of draws give are the same, within 4.5 standard errors."""
    first, second = torch.stack(a), torch.stack(b)
    error = (first.var(0) / len(a) + second.var(0) / len(b)).sqrt()
    return bool(((first.mean(0) - second.mean(0)).abs() <= 4.5 * error + 1e-6).all())


@pytest.mark.parametrize(("net", "kind"), CASES)
def test_all_predictive_functions_agree_with_whole_weights(net: str, kind: str) -> None:
    model, guide, hold, (x, y) = pair(net, kind)
    model.eval()
    by_hand, predicted = [], []
    for _ in range(BLOCKS):
        with torch.no_grad():
            draws = [model.output(weights_by_hand(guide, hold), x).softmax(-1) for _ in range(DRAWS)]
        by_hand.append(uncertainty(torch.stack(draws), y))
        found = predict(guide, x, num_samples=DRAWS)
        predicted.append(torch.stack([found.mutual_information.mean(), F.nll_loss(found.log_p, y)]))
    tree = to_tree(to_inference_data(guide, (x, y), num_samples=DRAWS * BLOCKS))
    p = torch.tensor(tree["posterior_predictive"]["y_probability"].values[0])
    assert agree(by_hand, predicted)
    assert agree(by_hand, [uncertainty(block, y) for block in p.split(DRAWS)])
    assert (by_hand[0][0] > 1e-3) == (kind != "point")

    torch.manual_seed(7)  # the draws of one random state are the same in every function
    found = predict(guide, x)
    torch.manual_seed(7)
    torch.testing.assert_close(predictive(guide, x).double(), found.log_p.exp(), rtol=1e-4, atol=1e-5)
    torch.manual_seed(7)
    metrics = evaluate(guide, (x, y))
    assert metrics.nll == pytest.approx(F.nll_loss(found.log_p, y).item(), rel=1e-5)
    assert metrics.mutual_information == pytest.approx(found.mutual_information.mean().item(), rel=1e-4, abs=1e-6)


def test_one_draw_serves_all_examples() -> None:
    """Two equal examples are predicted equally by each draw, so by any number of them."""
    _model, guide, _, (x, _) = pair("tokens", "bernoulli")
    p = predict(guide, torch.cat([x, x]), num_samples=2).log_p
    torch.testing.assert_close(p[:EXAMPLES], p[EXAMPLES:])


@pytest.mark.parametrize("num_samples", [0, 1.5, -1])
def test_a_number_of_draws_is_checked(num_samples: Any) -> None:
    _model, guide, _, (x, y) = pair("tied", "variational")
    for call in (
        lambda: predict(guide, x, num_samples=num_samples),
        lambda: predictive(guide, x, num_samples),
        lambda: evaluate(guide, (x, y), num_samples=num_samples),
    ):
        with refuses("num_samples", num_samples):
            call()
