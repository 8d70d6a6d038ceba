"""Models with latent sites beside the weights: every predictive function draws them all, and measures the observed site."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI
from pyro.optim import Adam
from support import refuses
from torch import Tensor, nn

from pyro_vd import (
    BayesianNetwork,
    VariationalDropout,
    VariationalDropoutELBO,
    evaluate,
    predict,
    to_inference_data,
)
from pyro_vd.evaluation.classification import Metrics
from pyro_vd.evaluation.draws import Draws
from pyro_vd.evaluation.regression import RegressionMetrics
from pyro_vd.inference.joint_draws import joint_draws
from pyro_vd.models import Normal
from pyro_vd.posterior import predictive
from pyro_vd.posterior.arviz_files import to_tree

N, DRAWS, BLOCKS = 30, 20, 10
EFFECTS = torch.tensor([-2.0, 0.5, 3.0])


class Hierarchical(BayesianNetwork):
    """Numbers: a network, an effect of each of three groups, one of each example, and a latent scale of the noise."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        weights = {name: pyro.sample(name, self.prior(name)) for name in self.weight_names}
        scale = pyro.sample("scale", dist.Gamma(2.0, 2.0))
        with pyro.plate("groups", 3):
            effects = pyro.sample("effects", dist.Normal(0.0, 3.0))
        with pyro.plate("examples", len(x)):
            own = pyro.sample("own", dist.Normal(0.0, 1.0))
            mean = self.output(weights, x)[:, 0] + effects[x[:, 0].long()] + own
            pyro.sample("y", dist.Normal(mean, scale), obs=y)
        return mean


class HierarchicalGuide(VariationalDropout):
    """Draws them from what is known here; an auxiliary site on the way."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
        log_scale = pyro.sample("log scale", dist.Normal(-0.5, 0.3), infer={"is_auxiliary": True})
        pyro.sample("scale", dist.Delta(log_scale.exp()))
        with pyro.plate("groups", 3):
            pyro.sample("effects", dist.Normal(EFFECTS, 0.5))
        with pyro.plate("examples", len(x)):
            pyro.sample("own", dist.Normal(x[:, 1], 0.4))
        return super().forward(x, y)


def hierarchical() -> tuple[Hierarchical, HierarchicalGuide, tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    model = Hierarchical(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)), Normal())
    x = torch.randn(N, 4)
    x[:, 0] = torch.arange(N) % 3
    return model, HierarchicalGuide(model, -2.0), (x, EFFECTS[x[:, 0].long()] + x[:, 1] + torch.randn(N))


def draws_by_hand(model: Hierarchical, guide: HierarchicalGuide, x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Means ``(S, n)`` and scales ``(S, 1)`` of the observations."""
    means, scales = [], []
    for _ in range(count):
        output = model.output({name: guide.posterior(name).sample() for name in guide.site_names}, x)[:, 0]
        effects = EFFECTS + 0.5 * torch.randn(3)
        means.append(output + effects[x[:, 0].long()] + x[:, 1] + 0.4 * torch.randn(N))
        scales.append((-0.5 + 0.3 * torch.randn(1)).exp())
    return torch.stack(means).double(), torch.stack(scales).double()


def measures(mean: Tensor, scale: Tensor, y: Tensor) -> Tensor:
    """RMSE, NLL and the places of the observations in the mixture."""
    normal = torch.distributions.Normal(mean, scale)
    nll = math.log(len(mean)) - normal.log_prob(y.double()).logsumexp(0)
    place = normal.cdf(y.double()).mean(0)
    inside = [((place >= (1 - level) / 2) & (place <= (1 + level) / 2)).double().mean() for level in (0.5, 0.9)]
    return torch.stack([(mean.mean(0) - y).square().mean().sqrt(), nll.mean(), *inside])


def numbers(metrics: Metrics | RegressionMetrics) -> Tensor:
    assert isinstance(metrics, RegressionMetrics)
    return torch.tensor([metrics.rmse, metrics.nll, metrics.coverage_50, metrics.coverage_90], dtype=torch.float64)


def agree(a: list[Tensor], b: list[Tensor]) -> bool:
    first, second = torch.stack(a), torch.stack(b)
    error = (first.var(0) / len(a) + second.var(0) / len(b)).sqrt()
    return bool(((first.mean(0) - second.mean(0)).abs() <= 4.5 * error + 1e-6).all())


@torch.no_grad()
def test_numbers_are_measured_at_the_observed_site() -> None:
    model, guide, (x, y) = hierarchical()
    by_hand = [measures(*draws_by_hand(model, guide, x, DRAWS), y) for _ in range(BLOCKS)]
    evaluated = [numbers(evaluate(guide, (x, y), num_samples=DRAWS)) for _ in range(BLOCKS)]
    assert agree(by_hand, evaluated)

    tree = to_tree(to_inference_data(guide, (x, y), num_samples=DRAWS * BLOCKS))
    assert "log scale" not in tree["posterior"].data_vars, "an auxiliary site is none of the model's"
    assert tree["posterior"]["own"].shape == (1, DRAWS * BLOCKS, N)
    mean, scale = torch.tensor(tree["posterior_predictive"]["y_mean"].values[0]), tree["posterior"]["scale"].values[0]
    log_likelihood = torch.distributions.Normal(mean, torch.tensor(scale)[:, None]).log_prob(y)
    torch.testing.assert_close(torch.tensor(tree["log_likelihood"]["y"].values[0]), log_likelihood, rtol=1e-4, atol=1e-4)
    blocks = zip(mean.double().split(DRAWS), torch.tensor(scale).double()[:, None].split(DRAWS), strict=True)
    assert agree(by_hand, [measures(*block, y) for block in blocks])

    torch.manual_seed(3)
    metrics = evaluate(guide, (x, y))
    torch.manual_seed(3)
    found = predictive(guide, x)
    assert isinstance(metrics, RegressionMetrics)
    assert (found - y).square().mean().sqrt().item() == pytest.approx(metrics.rmse, rel=1e-5)


def test_what_each_example_has_goes_with_it_into_every_part() -> None:
    """Examples run two at a time: what was drawn for each of all of them is cut as they are."""
    _, guide, (x, y) = hierarchical()
    found: dict[int, Tensor] = {}
    for rows in (1, 2, 7, N):
        parts: list[Tensor] = []

        def take(latents: Draws, observed: Draws, parts: list[Tensor] = parts) -> None:
            parts.append(observed["mean"] - latents["own"] - latents["effects"][:, x[:, 0].long()])

        torch.manual_seed(5)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pyro_vd.evaluation.memory.MOST_ROWS", rows)
            joint_draws(guide, x, y, 3, lambda observed, _: {"mean": observed.mean}, take)
        found[rows] = torch.cat(parts)
        torch.testing.assert_close(found[rows], found[1])


class Shifted(BayesianNetwork):
    """Classes, all logits shifted by one latent site."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        shift = pyro.sample("shift", dist.Normal(torch.zeros(3), 2.0).to_event(1))
        self.likelihood = lambda output: dist.Categorical(logits=output + shift)
        return super().forward(x, y)


class ShiftedGuide(VariationalDropout):
    """With a parameter of Pyro's store, as an SVI user would write it."""

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        mean = pyro.param("shift mean", torch.zeros(3))
        pyro.sample("shift", dist.Normal(mean, 0.1).to_event(1))
        return super().forward(*args, **kwargs)


def test_classes_are_predicted_without_labels_by_what_svi_has_trained() -> None:
    pyro.clear_param_store()
    torch.manual_seed(0)
    model = Shifted(nn.Linear(4, 3))
    guide = ShiftedGuide(model, -8.0)
    x, y = torch.randn(200, 4), torch.full((200,), 2)
    svi = SVI(model, guide, Adam({"lr": 0.05}), VariationalDropoutELBO(kl_weight=0.001))
    for _ in range(60):
        svi.step(x, y)
    learnt = pyro.param("shift mean").detach().clone()
    assert learnt[2] > 0.5 + learnt[:2].max()
    found = predict(guide, x, num_samples=100)
    expected = (x @ guide.mean("weight").T + model.net.bias + learnt).softmax(-1).detach()
    assert (found.log_p.exp() - expected).abs().max() < 0.02
    torch.testing.assert_close(predictive(guide, x, 400).double(), found.log_p.exp(), atol=0.02, rtol=0)
    assert torch.equal(pyro.param("shift mean"), learnt)
    pyro.clear_param_store()


def test_sites_that_do_not_fit_are_named() -> None:
    model, _, (x, y) = hierarchical()
    with refuses("scale", {"model": ["scale"], "guide": []}, ["scale"]):
        evaluate(VariationalDropout(model), (x, y))
    plain = BayesianNetwork(nn.Linear(4, 3))
    pyro.clear_param_store()
    with refuses("shift", {"model": [], "guide": ["shift"]}, ["shift"]):
        predict(ShiftedGuide(plain), x)

    class Other(BayesianNetwork):
        def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            output = self.output({name: pyro.sample(name, self.prior(name)) for name in self.weight_names}, x)
            pyro.sample("labels", dist.Categorical(logits=output).to_event(1), obs=y if y is not None else torch.zeros(len(x)))
            return output

    other = Other(nn.Linear(4, 3))
    with refuses("y"):
        predict(VariationalDropout(other), x)

    class Fixed(HierarchicalGuide):
        def forward(self, x: Tensor, y: Tensor | None = None) -> dict[str, Tensor]:
            return super().forward(x[:7], y)

    with refuses("own", 7, "examples", N):
        evaluate(Fixed(model), (x, y))


def test_effect_handlers_round_a_prediction_do_not_reach_it() -> None:
    _model, guide, (x, y) = hierarchical()
    torch.manual_seed(1)
    alone = numbers(evaluate(guide, (x, y)))
    torch.manual_seed(1)
    with pyro.poutine.scale(scale=3.0), pyro.poutine.mask(mask=torch.arange(N) < 5), pyro.poutine.trace() as trace:
        assert torch.equal(numbers(evaluate(guide, (x, y))), alone)
    assert not trace.trace.stochastic_nodes
