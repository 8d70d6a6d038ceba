"""Several heads, and weights of examples: densities by hand, training, pruning, measures and files."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, choose_threshold, evaluate, fit, prune
from pyro_vd.evaluation import HeadsMetrics, Metrics, RegressionMetrics, Selected
from pyro_vd.evaluation.observations import check_observations
from pyro_vd.evaluation.score import score_of
from pyro_vd.guides import PointEstimate
from pyro_vd.models import Bernoulli, Categorical, Heads, Normal, Poisson, Weighted
from pyro_vd.models.likelihood_files import describe, likelihood_of

OPTIONS: dict[str, Any] = {"epochs": 15, "batch_size": 25, "lr": 0.05, "progress": False}


class TwoHeads(nn.Module):
    """Logits of tokens and a number, and more that no head takes."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.label, self.size = nn.Linear(5, 8), nn.Linear(8, 6), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        hidden = self.body(x).tanh()
        label, size = self.label(hidden).unflatten(1, (2, 3)), self.size(hidden)
        return {"label": label, "size": size, "hidden": hidden, "loss": hidden.mean(), "cache": None}


def heads() -> dict[str, Any]:
    return {"label": Categorical(ignore_index=-100), "size": Normal()}


def observed(n: int = 100) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(1)
    x = torch.randn(n, 5)
    label = torch.stack([(x[:, 0] > 0).long(), (x[:, 1] > 0.5).long() + 1], 1)
    label[::4, 1] = -100
    return x, {"label": label, "size": x[:, 2] + 0.1 * torch.randn(n)}


def test_log_likelihoods_of_heads_add_up() -> None:
    net, likelihood = TwoHeads(), Heads({"label": Categorical(), "size": Normal(0.5)})
    x, y = observed()
    output = net(x)
    y["label"] = y["label"].clamp(min=0)
    found = likelihood(output)
    label, size = Categorical()(output["label"]), Normal(0.5)(output["size"])
    torch.testing.assert_close(found.log_prob(y), label.log_prob(y["label"]) + size.log_prob(y["size"]))
    torch.testing.assert_close(found.log_prob({"size": y["size"]}), size.log_prob(y["size"]))
    assert {name: tuple(part.shape) for name, part in found.sample().items()} == {"label": (100, 2), "size": (100,)}


def test_the_data_term_counts_examples_of_all_heads() -> None:
    x, y = observed()
    model = BayesianNetwork(TwoHeads(), heads(), num_data=1000)
    elbo = VariationalDropoutELBO()
    elbo.loss(model, PointEstimate(model), x, y)
    with torch.no_grad():
        by_hand = -10 * model.likelihood(model.output(model.initial_weights, x)).log_prob(y).sum()
    assert elbo.data_term.item() == pytest.approx(by_hand.item(), rel=1e-5)


@pytest.mark.parametrize("partly", [False, True])
def test_heads_are_trained_pruned_and_measured(partly: bool) -> None:
    x, y = observed()
    if partly:
        del y["label"]
    model = BayesianNetwork(TwoHeads(), heads())
    guide = VariationalDropout(model, log_sigma2=-8.0)
    start = model.likelihood.heads["size"].scale
    history = fit(guide, (x, y), (x, y), **OPTIONS).history
    assert history[-1].score_name == "nll"
    assert history[-1].score < history[0].score
    assert model.likelihood.heads["size"].scale < start, "its scale is learnt"
    pruned = prune(guide, choose_threshold(guide, (x, y), 0.1).threshold)
    for metrics in (evaluate(guide, (x, y), num_samples=4), evaluate(pruned, (x, y), likelihood=model.likelihood)):
        assert isinstance(metrics, HeadsMetrics)
        assert set(metrics.heads) == set(y)
        assert isinstance(metrics.heads["size"], RegressionMetrics)
        assert metrics.score.named() == {"nll": metrics.nll}
    score = score_of(pruned, (x, y), model.likelihood)
    assert score.value == pytest.approx(metrics.nll, rel=1e-5)
    alone = evaluate(pruned, (x, y["size"]), likelihood=Selected("size", model.likelihood.heads["size"]))
    assert metrics.heads["size"].rmse == pytest.approx(alone.rmse)
    if not partly:
        of_label = evaluate(pruned, (x, y["label"]), likelihood=Selected("label", Categorical(ignore_index=-100)))
        assert isinstance(metrics.heads["label"], Metrics)
        assert metrics.heads["label"].nll == pytest.approx(of_label.nll)
        assert metrics.heads["label"].error < 0.2
        labels = (y["label"] != -100).sum().item()
        assert metrics.nll == pytest.approx(of_label.nll * labels / 100 + alone.nll)


def test_weights_multiply_the_log_likelihood() -> None:
    torch.manual_seed(2)
    output, y, weight = torch.randn(6, 1), torch.randn(6), torch.rand(6)
    found = Weighted(Normal(0.5))(output)
    plain = Normal(0.5)(output).log_prob(y)
    torch.testing.assert_close(found.log_prob(y), plain)
    torch.testing.assert_close(found.log_prob({"y": y, "weight": weight}), weight * plain)
    assert found.batch_shape == (6,)


def test_a_whole_weight_is_that_many_examples() -> None:
    """Least squares with weights 0, 1, 2, … is that of repeated examples, and of weight 0 of examples left out."""
    torch.manual_seed(3)
    x, weight = torch.randn(40, 2), torch.arange(40) % 4
    y = x @ torch.tensor([1.0, -2.0]) + torch.randn(40)

    def found(likelihood: Any, data: Any) -> Tensor:
        torch.manual_seed(4)
        guide = PointEstimate(BayesianNetwork(nn.Linear(2, 1), likelihood))
        fit(guide, data, epochs=400, batch_size=100, lr=0.05, progress=False)
        return guide.mean("weight")

    weighted = found(Weighted(Normal(1.0)), (x, {"y": y, "weight": weight}))
    repeated = found(Normal(1.0), (x.repeat_interleave(weight, 0), y.repeat_interleave(weight, 0)))
    torch.testing.assert_close(weighted, repeated, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("likelihood", "outputs"), [(Normal(0.5), 1), (Normal(0.5), 3), (Categorical(), 3), (Bernoulli(), 3), (Poisson(), 1)]
)
def test_examples_of_weight_0_do_not_count_in_measures(likelihood: Any, outputs: int) -> None:
    torch.manual_seed(5)
    net, x = nn.Linear(4, outputs), torch.randn(30, 4)
    y = likelihood(net(x).detach()).sample()
    kept = torch.arange(30) % 3 != 0
    weight = torch.where(kept, 0.5 + torch.rand(30), 0.0)
    some = evaluate(net, (x[kept], y[kept]), likelihood=likelihood)
    found = evaluate(net, (x, {"y": y, "weight": weight}), likelihood=Weighted(likelihood))
    assert found.nll == pytest.approx(some.nll)
    assert found.score.value == pytest.approx(some.score.value)
    assert score_of(net, (x, {"y": y, "weight": weight}), Weighted(likelihood)).value == pytest.approx(some.score.value)
    assert evaluate(net, (x, y), likelihood=Weighted(likelihood)) == evaluate(net, (x, y), likelihood=likelihood)


def test_a_head_has_weights_of_its_own() -> None:
    x, y = observed()
    data = x, {"label": y["label"], "size": {"y": y["size"], "weight": (torch.arange(100) % 2).float()}}
    model = BayesianNetwork(TwoHeads(), {"label": Categorical(ignore_index=-100), "size": Weighted(Normal())})
    guide = VariationalDropout(model, log_sigma2=-8.0)
    fit(guide, data, data, **OPTIONS)
    metrics = evaluate(guide, data, num_samples=2)
    assert metrics.heads["size"].examples == 50
    net = guide.model.to_module({name: guide.mean(name) for name in guide.site_names})
    score = score_of(net, data, model.likelihood).value
    assert score == pytest.approx(evaluate(net, data, likelihood=model.likelihood).nll, rel=1e-5)


EVERY: dict[str, tuple[Any, Any]] = {
    "heads": (lambda: Heads({"label": Categorical(1, ignore_index=0), "size": Normal(0.3)}), lambda net, x: net(x)),
    "weighted": (lambda: Weighted(Normal(0.3)), lambda net, x: net(x)["size"]),
    "a part": (lambda: Selected("size", Weighted(Normal(0.3))), lambda net, x: net(x)),
    "weighted heads": (lambda: Heads({"size": Weighted(Poisson()), "label": Categorical()}), lambda net, x: net(x)),
}


@pytest.mark.parametrize(("make", "run"), EVERY.values(), ids=EVERY)
def test_files(make: Any, run: Any) -> None:
    likelihood, output = make(), run(TwoHeads(), torch.randn(4, 5))
    read = likelihood_of(describe(likelihood))
    assert type(read) is type(likelihood)
    torch.manual_seed(6)
    y = likelihood(output).sample()
    torch.testing.assert_close(read(output).log_prob(y), likelihood(output).log_prob(y))
    for wrong in ({"heads": {"a": {"name": "cauchy"}}}, {"weighted": 3}, {"heads": []}, {"heads": {}, "name": "normal"}):
        with refuses("likelihood", wrong):
            likelihood_of({"likelihood": wrong})


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: Heads({}), "heads"),
        (lambda: Heads({"a.b": Normal()}), "heads"),
        (lambda: Heads({"y": Normal(), "weight": Normal()}), "heads"),
        (lambda: Heads({"a": Normal}), "likelihood"),
        (lambda: Heads({"a": Heads({"b": Normal()})}), "heads['a']"),
        (lambda: Weighted(Heads({"b": Normal()})), "likelihood"),
        (lambda: Weighted(None), "likelihood"),
        (lambda: Heads({"a": Normal()})({"b": torch.zeros(3, 1)}), "output"),
        (lambda: Heads({"a": Normal()})(torch.zeros(3, 1)), "output"),
        (lambda: fit(PointEstimate(BayesianNetwork(TwoHeads(), {"age": Normal()})), observed(), **OPTIONS), "output"),
    ],
)
def test_wrong_likelihoods_are_quoted(make: Any, name: str) -> None:
    with refuses(name, ANYTHING):
        make()


HEADS = Heads({"label": Categorical(), "size": Weighted(Normal())})
OUTPUT = {"label": torch.zeros(3, 2), "size": torch.zeros(3, 1)}
ONES = torch.ones(3)


@pytest.mark.parametrize(
    ("y", "about"),
    [
        ({"label": torch.tensor([0, 1, 2])}, ("data, label", 2)),
        ({"size": ONES.log() / 0}, ("data, size", ANYTHING)),
        ({"sizes": ONES}, ("data", ["sizes"], "'size'?")),
        ({}, ("data", [])),
        ({"size": {"y": ONES}}, ("data, size", ["y"], "weight")),
        ({"size": {"y": ONES, "weight": ONES[:2]}}, ("data", [(3,), (2,)])),
        ({"size": {"y": ONES, "weight": torch.tensor([1.0, -2.0, 1.0])}}, ("data, size, weight", -2.0)),
        ({"size": {"y": ONES, "weight": 0 * ONES}}, ("data, size, weight", 0.0)),
        ({"label": {"y": ONES, "weight": ONES}}, ("data, label", "dict")),
    ],
)
def test_wrong_observations_are_quoted(y: Any, about: tuple[Any, ...]) -> None:
    with refuses(*about):
        check_observations("data", y, HEADS, OUTPUT)


def test_one_tensor_for_several_heads_is_refused() -> None:
    with refuses("data", "Tensor", "label, size"):
        check_observations("data", torch.zeros(3), HEADS, OUTPUT)


@pytest.mark.parametrize(
    ("likelihood", "y", "shape"),
    [
        (Categorical(), torch.zeros(1, dtype=torch.long), (1,)),
        (Weighted(Categorical()), {"y": torch.zeros(1, dtype=torch.long), "weight": torch.ones(4)}, (1,)),
        (Weighted(Categorical()), {"y": torch.zeros(4, dtype=torch.long), "weight": torch.ones(1)}, (1,)),
        (Heads({"a": Categorical(), "b": Categorical()}), {"b": torch.zeros(1, dtype=torch.long)}, (1,)),
        (Heads({"a": Normal()}), {"a": torch.zeros(1, 3)}, (1, 3)),
    ],
    ids=["plain", "weighted", "weights", "a head", "a head of numbers"],
)
def test_no_observation_is_counted_more_than_once(likelihood: Any, y: Any, shape: tuple[int, ...]) -> None:
    net = nn.Linear(2, 3) if not isinstance(likelihood, Heads) else Repeated(list(likelihood.heads))
    model = BayesianNetwork(net, likelihood)
    with refuses("y", shape, "more than once"):
        VariationalDropoutELBO().loss(model, VariationalDropout(model), torch.randn(4, 2), y)


def test_soft_labels_without_weights_are_taken_by_a_weighted_likelihood() -> None:
    model = BayesianNetwork(nn.Linear(2, 3), Weighted(Categorical()))
    soft = torch.full((4, 3), 1 / 3)
    losses = []
    for y in (soft, {"y": soft, "weight": torch.ones(4)}):
        torch.manual_seed(0)
        losses.append(VariationalDropoutELBO().loss(model, VariationalDropout(model), torch.ones(4, 2), y))
    assert losses[0] == losses[1]


class Repeated(nn.Module):
    """The same three outputs for every head."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.linear, self.names = nn.Linear(2, 3), names

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return dict.fromkeys(self.names, self.linear(x))
