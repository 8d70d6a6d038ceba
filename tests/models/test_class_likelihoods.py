"""Classes with positions, ignored labels, weights, smoothing and soft labels, beside torch's loss; and ordered classes."""

from __future__ import annotations

import math
from typing import Any

import pyro
import pytest
import torch
import torch.nn.functional as F
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, fit
from pyro_vd.evaluation.observations import check_observations, distribution_of
from pyro_vd.evaluation.scores import log_likelihood
from pyro_vd.guides import PointEstimate
from pyro_vd.models import Categorical, OrderedLogistic
from pyro_vd.models.likelihood_files import describe, likelihood_of

WEIGHT = [0.5, 2.0, 0.0, 1.0]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ignored": {"ignore_index": -100},
    "weighted": {"weight": WEIGHT},
    "smooth": {"label_smoothing": 0.3},
    "all": {"ignore_index": 1, "weight": WEIGHT, "label_smoothing": 0.1},
}
SHAPES: dict[str, tuple[tuple[int, ...], int]] = {
    "classes": ((7, 4), -1),
    "tokens": ((7, 5, 4), -1),
    "pixels": ((7, 4, 2, 3), 1),
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
every_shape = pytest.mark.parametrize(("shape", "dim"), SHAPES.values(), ids=SHAPES)


def labels(shape: tuple[int, ...], dim: int, ignored: int | None) -> Tensor:
    positions = [size for k, size in enumerate(shape) if k != dim % len(shape)]
    y = torch.randint(4, positions)
    if ignored is not None:
        y.view(-1)[::3] = ignored
    return y


@every_option
@every_shape
def test_log_probability_is_torchs_cross_entropy(shape: tuple[int, ...], dim: int, options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    output = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    y = labels(shape, dim, options.get("ignore_index"))
    arguments = options | ({"weight": torch.tensor(WEIGHT, dtype=torch.float64)} if "weight" in options else {})
    loss = F.cross_entropy(output if dim == 1 else output.movedim(-1, 1), y, reduction="none", **arguments)
    distribution = Categorical(dim, **options)(output)
    assert (distribution.batch_shape, tuple(distribution.event_shape)) == ((7,), tuple(y.shape[1:]))
    found = distribution.log_prob(y)
    torch.testing.assert_close(found, -loss.reshape(7, -1).sum(1))
    gradients = [torch.autograd.grad(value, output)[0] for value in (found.sum(), -loss.sum())]
    torch.testing.assert_close(*gradients)


@every_shape
def test_soft_labels(shape: tuple[int, ...], dim: int) -> None:
    """Of certain soft labels it is that of the labels; of others the expectation; with the options of torch's loss."""
    torch.manual_seed(2)
    output, y = torch.randn(shape), labels(shape, dim, None)
    for options in ({}, {"weight": WEIGHT, "label_smoothing": 0.2}):
        distribution = Categorical(dim, **options)(output)
        certain = F.one_hot(y, 4).float()
        torch.testing.assert_close(distribution.log_prob(certain), distribution.log_prob(y))
        soft = torch.rand(certain.shape).softmax(-1)
        torch.testing.assert_close(check_observations("data", soft, Categorical(dim, **options), output), soft)
        weight = torch.tensor(WEIGHT) if options else None
        smoothing = options.get("label_smoothing", 0.0)
        rows = output if dim == 1 else output.movedim(-1, 1)
        loss = F.cross_entropy(rows, soft.movedim(-1, 1), weight, reduction="none", label_smoothing=smoothing)
        torch.testing.assert_close(distribution.log_prob(soft), -loss.reshape(7, -1).sum(1))


def test_measures_do_not_depend_on_weights_and_smoothing() -> None:
    torch.manual_seed(3)
    output, y = torch.randn(6, 3, 4), torch.randint(4, (6, 3))
    y[:, 0] = -100
    found = log_likelihood(Categorical(ignore_index=-100, weight=WEIGHT, label_smoothing=0.2)(output), y)
    log_p = output.log_softmax(-1).gather(-1, y.clamp(min=0)[..., None])[..., 0]
    torch.testing.assert_close(found, log_p[:, 1:].sum(1))


def test_ignored_positions_have_no_gradient_and_batches_count_examples() -> None:
    torch.manual_seed(4)
    x, y = torch.randn(8, 3), torch.randint(4, (8, 5))
    y[:, 2:] = -100
    y[3] = -100
    net = nn.Sequential(nn.Linear(3, 20), nn.Unflatten(1, (5, 4)))
    model = BayesianNetwork(net, Categorical(ignore_index=-100), num_data=80)
    elbo = VariationalDropoutELBO()
    elbo.loss(model, guide := PointEstimate(model), x, y)
    rows = net(x).flatten(0, 1)
    by_hand = 10 * F.cross_entropy(rows, y.flatten(), ignore_index=-100, reduction="sum")
    assert elbo.data_term.item() == pytest.approx(by_hand.item(), rel=1e-5)
    loss = elbo.differentiable_loss(model, guide, x, y)
    gradient = torch.autograd.grad(loss, guide.site("0.weight").theta)[0].reshape(5, 4, 3)
    assert gradient[:2].any(-1).all()
    assert not gradient[2:].any()


@pytest.mark.parametrize("options", [{}, {"ignore_index": -100}, {"weight": [1.0, 2.0, 1.0], "label_smoothing": 0.1}])
def test_soft_labels_train_a_model(options: dict[str, Any]) -> None:
    torch.manual_seed(5)
    x = torch.randn(200, 4)
    y = (x @ torch.randn(4, 3)).softmax(-1)
    guide = VariationalDropout(BayesianNetwork(nn.Linear(4, 3), Categorical(**options)))
    history = fit(guide, (x, y), (x, y), epochs=20, batch_size=50, lr=0.05, progress=False).history
    assert history[-1].data_term < history[0].data_term
    assert history[-1].score < 0.3, "the most probable class is predicted"
    pyro.clear_param_store()


def test_ordered_logistic_by_hand() -> None:
    """P(y ≤ k) = σ(cₖ − f); finite in the tails, where differences of σ are 0 in float32."""
    f, cutpoints = torch.linspace(-4, 4, 9), torch.tensor([-1.5, 0.2, 2.0])
    found = OrderedLogistic(cutpoints=cutpoints.tolist())(f)
    upto = torch.cat([torch.sigmoid(cutpoints - f[:, None]), torch.ones(9, 1)], 1)
    p = upto.diff(dim=1, prepend=torch.zeros(9, 1))
    for k in range(4):
        torch.testing.assert_close(found.log_prob(torch.full((9,), k)), p[:, k].log())
    far = OrderedLogistic(cutpoints=cutpoints.tolist())(torch.tensor([200.0, -200.0]))
    torch.testing.assert_close(far.log_prob(torch.tensor([1, 2])), torch.tensor([
        0.2 - 200 + math.log(1 - math.exp(-1.7)), -0.2 - 200 + math.log(1 - math.exp(-1.8)),
    ]))  # fmt: skip
    even = OrderedLogistic(5)(torch.zeros(1))
    torch.testing.assert_close(even.base_dist.probs if hasattr(even, "base_dist") else even.probs, torch.full((1, 5), 0.2))


def test_cutpoints_are_learnt_and_stay_in_order() -> None:
    torch.manual_seed(6)
    x = torch.randn(3000, 2)
    true = torch.tensor([-1.0, 0.3, 2.5])
    y = OrderedLogistic(cutpoints=true.tolist())(x @ torch.tensor([1.0, -2.0])).sample()
    model = BayesianNetwork(nn.Linear(2, 1, bias=False), likelihood := OrderedLogistic(4))
    fit(guide := PointEstimate(model), (x, y), epochs=150, batch_size=3000, lr=0.05, progress=False)
    assert ((likelihood.cutpoints - true).abs() < 0.25).all(), "four standard errors of about 0.06"
    assert ((guide.mean("weight")[0] - torch.tensor([1.0, -2.0])).abs() < 0.25).all()
    assert (likelihood.cutpoints.diff() > 0).all()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_file_keeps_the_options(options: dict[str, Any]) -> None:
    info = describe(Categorical(1, **options))
    assert info["likelihood"].items() >= {"name": "categorical", "dim": 1, **options}.items()
    read = likelihood_of(info)
    output, y = torch.randn(6, 4, 3), torch.randint(4, (6, 3))
    torch.testing.assert_close(read(output).log_prob(y), Categorical(1, **options)(output).log_prob(y))


TOKENS = torch.zeros(2, 3, 4)


@pytest.mark.parametrize(
    ("y", "options", "about"),
    [
        (torch.tensor([[0, 1, 4], [0, 1, 2]]), {}, (ANYTHING, 4, "0 to classes - 1", "4 classes")),
        (torch.tensor([[0, 1, -100], [0, 1, 2]]), {}, (ANYTHING, -100, ">= 0")),
        (torch.tensor([[0, 1, -1], [0, 1, 2]]), {"ignore_index": -100}, (ANYTHING, -1, "-100")),
        (torch.full((2, 3), -100), {"ignore_index": -100}, (ANYTHING, -100, "at least one")),
        (torch.tensor([0, 1]), {}, (ANYTHING, (2,), "(n, 3)")),
        (torch.tensor([[0.0, 1.0, 2.0]] * 2), {}, (ANYTHING, torch.float32, "integers")),
        (torch.full((2, 3, 4), 0.3), {}, (ANYTHING, ANYTHING, "example 0", "sum is 1")),
        (torch.tensor([[[1.5, -0.5, 0.0, 0.0]] * 3] * 2), {}, (ANYTHING, ANYTHING, "-0.5", "at least 0")),
        (torch.zeros(2, 3).long(), {"weight": [1.0, 2.0]}, ("weight", [1.0, 2.0], "4 classes")),
    ],
)
def test_wrong_labels_are_quoted(y: Tensor, options: dict[str, Any], about: tuple[Any, ...]) -> None:
    with refuses(*about):
        check_observations("data", y, Categorical(**options), TOKENS)


@pytest.mark.parametrize(
    ("y", "output", "about"),
    [
        (torch.zeros(4, 5, 6).long(), torch.zeros(4, 2, 5, 6), (ANYTHING, (4, 5, 6), "Categorical(dim=1)")),
        (torch.full((4, 1), 37.5), torch.zeros(4, 1), (ANYTHING, (37.5,), "Normal()")),
        (torch.tensor([0, 3, 1, 2]), torch.zeros(4, 1), (ANYTHING, 3, "Poisson()")),
        (torch.tensor([0.5, 3, 1, 2]), torch.zeros(4, 1), (ANYTHING, torch.float32, "Normal()")),
    ],
    ids=["pixels", "numbers", "counts", "fractions"],
)
def test_observations_of_another_likelihood_name_it(y: Tensor, output: Tensor, about: tuple[Any, ...]) -> None:
    with refuses(*about):
        check_observations("data", y, Categorical(), output)


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ({"dim": 0}, "dim", 0),
        ({"dim": 1.5}, "dim", 1.5),
        ({"ignore_index": 0.5}, "ignore_index", 0.5),
        ({"label_smoothing": 1}, "label_smoothing", 1),
        ({"label_smoothing": -0.1}, "label_smoothing", -0.1),
        ({"weight": [1.0, -1.0]}, "weight", [1.0, -1.0]),
        ({"weight": [0.0, 0.0]}, "weight", [0.0, 0.0]),
    ],
)
def test_wrong_options_are_quoted(arguments: dict[str, Any], name: str, value: object) -> None:
    with refuses(name, value):
        Categorical(**arguments)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({}, "classes"),
        ({"classes": 3, "cutpoints": [1.0]}, "classes"),
        ({"classes": 1}, "classes"),
        ({"cutpoints": [1.0, 0.5]}, "cutpoints"),
    ],
)
def test_wrong_cutpoints_are_quoted(arguments: dict[str, Any], name: str) -> None:
    with refuses(name, ANYTHING):
        OrderedLogistic(**arguments)


def test_no_likelihood_takes_soft_labels_too() -> None:
    output, soft = torch.randn(5, 3), torch.rand(5, 3).softmax(-1)
    assert check_observations("data", soft, None, output) is not None
    torch.testing.assert_close(log_likelihood(distribution_of(None, output), soft), (soft * output.log_softmax(-1)).sum(-1))
