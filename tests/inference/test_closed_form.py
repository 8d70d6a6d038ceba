"""The gradient of the KL in closed form: steps and trainings are those of autograd, up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, GroupVariationalDropout, VariationalDropout, VariationalDropoutELBO, fit
from pyro_vd.distributions import LogUniform, MultiplicativeNormal, NormalARD, NormalJeffreys, closed_form, parts
from pyro_vd.guides import BernoulliDropout, GaussianDropout, LogNormalDropout, PointEstimate, WeightGuide


class ByHandlers(BayesianNetwork):
    """The same model with a ``forward`` of its own, whose sites only Pyro's handlers find, so that autograd does the rest."""

    def forward(self, x: Any, y: Any = None) -> Any:
        return super().forward(x, y)


class LastOfSequence(nn.Module):
    """An LSTM that reads a row of the picture at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.out = nn.LSTM(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x.flatten(1, 2))[0][:, -1])


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(9, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.embedding((x[:, 0, :, 0].abs() * 4).long().clamp(max=8)).mean(1))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Linear(8, 3)),
    "convolutions": lambda: nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, stride=2, groups=2)),
        *(nn.ConvTranspose2d(4, 2, 2), nn.Flatten(), nn.Linear(18, 3)),
    ),
    "recurrent": LastOfSequence,
    "embedding": Tokens,
}
PRIORS: dict[str, Any] = {"approximate": LogUniform, "exact": partial(LogUniform, kl="exact"), "ard": NormalARD}
OTHERS: dict[str, tuple[Any, Any]] = {
    **{f"by {per}": (partial(VariationalDropout, alpha_sharing=per), LogUniform) for per in ("row", "column", "layer")},
    "group": (GroupVariationalDropout, NormalJeffreys),
    "log-normal": (partial(LogNormalDropout, weight_noise=True), LogUniform),
    "gaussian": (partial(GaussianDropout, p=0.3), LogUniform),
    "bernoulli": (partial(BernoulliDropout, p=0.3), LogUniform),
    "point": (PointEstimate, LogUniform),
}
X = torch.randn(40, 1, 6, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(40) % 3


def made(kind: type[BayesianNetwork], network: str = "linear", guide: Any = VariationalDropout, prior: Any = LogUniform) -> Any:
    torch.manual_seed(0)
    model = kind(NETWORKS[network](), prior=prior, num_data=len(X))
    return model, guide(model)


def removed(guide: WeightGuide) -> None:
    """Remove every third weight."""
    weights = guide.model.initial_weights
    guide.apply_masks({name: (torch.arange(w.numel()) % 3 > 0).view_as(w) for name, w in weights.items()})


def step(pair: Any, x: Tensor = X, **options: Any) -> tuple[VariationalDropoutELBO, dict[str, Tensor]]:
    """The objective after one step, and what the step has found."""
    model, guide = pair
    elbo = VariationalDropoutELBO(**{"kl_weight": 0.3, **options})
    torch.manual_seed(2)
    loss = elbo.backward(model, guide, x, Y)
    assert not loss.requires_grad
    gradients = {n: p.grad.clone() for module in pair for n, p in module.named_parameters() if p.grad is not None}
    return elbo, {"loss": loss, "data": elbo.data_term, "kl": elbo.kl, **elbo.site_kl, **gradients}


def check_same(found: dict[str, Tensor], wanted: dict[str, Tensor], rtol: float) -> None:
    """Compare all parts, each relative to its largest number."""
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        scale = value.detach().abs().max().clamp_min(1e-30)
        torch.testing.assert_close(found[name].detach() / scale, value.detach() / scale, rtol=0, atol=rtol, msg=name)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 2e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize("threshold", [None, 3.0])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_is_that_of_autograd(network: str, prior: str, threshold: float | None, dtype: torch.dtype, rtol: float) -> None:
    steps = []
    for kind in (BayesianNetwork, ByHandlers):
        pair = made(kind, network, partial(VariationalDropout, log_sigma2=-5.0), PRIORS[prior])
        pair[1].train_threshold = threshold
        elbo, found = step([module.to(dtype) for module in pair], X.to(dtype), kl_weights={pair[1].site_names[0]: 0.1})
        assert elbo.closed_form == (set(pair[1].site_names) if kind is BayesianNetwork else set())
        steps.append(found)
    check_same(*steps, rtol)


@pytest.mark.parametrize("name", OTHERS)
def test_other_posteriors_are_left_to_autograd(name: str) -> None:
    steps = []
    for kind in (BayesianNetwork, ByHandlers):
        elbo, found = step(made(kind, "linear", *OTHERS[name]))
        assert not elbo.closed_form
        steps.append(found)
    check_same(*steps, 0.0)


def test_what_has_no_closed_form_is_left_to_autograd() -> None:
    def closed(change: Callable[[Any, WeightGuide], Any], **options: Any) -> int:
        steps = []
        for kind in (BayesianNetwork, ByHandlers):
            pair = made(kind)
            change(*pair)
            steps.append(step(pair, **options))
        check_same(steps[0][1], steps[1][1], 2e-5)
        return len(steps[0][0].closed_form)

    def hook(tensor: Tensor) -> Any:
        return tensor.register_hook(lambda gradient: 2 * gradient)

    assert closed(lambda model, guide: None) == 2
    assert closed(lambda model, guide: None, num_particles=2) == 0
    assert closed(lambda model, guide: removed(guide)) == 2
    assert closed(lambda model, guide: guide.site("1.weight").theta.requires_grad_(False)) == 1
    assert closed(lambda model, guide: guide.site("1.weight").log_sigma2.requires_grad_(False)) == 1
    assert closed(lambda model, guide: hook(guide.site("3.weight").theta)) == 1
    assert closed(lambda model, guide: guide.requires_grad_(False)) == 0


def test_gradients_are_added_to_earlier_ones() -> None:
    pair = made(BayesianNetwork)
    once = step(pair)[1]
    twice = step(pair)[1]
    parameters = {name for module in pair for name, _ in module.named_parameters()}
    check_same({n: v if n in parameters else 2 * v for n, v in twice.items()}, {n: 2 * v for n, v in once.items()}, 1e-5)


def test_without_a_gradient_of_the_data_that_of_the_kl_is_left() -> None:
    theta, log_sigma2 = torch.randn(5).requires_grad_(), torch.randn(5).requires_grad_()
    value = torch.distributions.kl_divergence(MultiplicativeNormal(theta, log_sigma2), LogUniform((5,))).sum()
    wanted = torch.autograd.grad(3 * value, (theta, log_sigma2))
    with torch.no_grad():
        found = closed_form.ClosedForm(theta, log_sigma2, "approximate").finish(3.0)
    torch.testing.assert_close((found, theta.grad, log_sigma2.grad), (value.detach(), *wanted))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("prior", PRIORS)
def test_extreme_parameters_and_several_parts(prior: str, dtype: torch.dtype) -> None:
    """θ = 0, tiny and huge; log σ² far beyond the range of exp; more weights than one part has."""
    size = 2 * parts._CHUNK + 7
    log_sigma2 = torch.linspace(-120, 85, size, dtype=dtype)
    theta = torch.tensor([0.0, 1e-30, -1e-3, 0.5, -20.0], dtype=dtype).repeat(size)[:size].clone()
    q, p = MultiplicativeNormal(theta.requires_grad_(), log_sigma2.requires_grad_()), PRIORS[prior]((size,))
    value = torch.distributions.kl_divergence(q, p).sum()
    wanted = torch.autograd.grad(value, (theta, log_sigma2))
    with torch.no_grad():
        found = closed_form.ClosedForm(theta, log_sigma2, prior).finish(1.0)
    torch.testing.assert_close(found, value.detach(), rtol=1e-5, atol=0)
    for gradient, of_autograd in zip((theta.grad, log_sigma2.grad), wanted, strict=True):
        assert gradient is not None
        torch.testing.assert_close(gradient, of_autograd, rtol=1e-4, atol=1e-28)
        assert gradient.isfinite().all()


def check_fifty_steps(network: str, prior: str, has_mask: bool = False, **options: Any) -> None:
    """Compare trainings in float64, where rounding stays small however the steps amplify it."""
    trained = []
    for kind in (BayesianNetwork, ByHandlers):
        pair = made(kind, network, partial(VariationalDropout, log_sigma2=-4.0), PRIORS[prior])
        model, guide = (module.double() for module in pair)
        if has_mask:
            removed(guide)
        torch.manual_seed(3)
        settings: dict[str, Any] = {"epochs": 10, "batch_size": 8, "lr": 0.01, "kl_weight": 0.5, "progress": False}
        result = fit(guide, (X.double(), Y), **{**settings, **options})
        record = result.history[-1]
        numbers = {"loss": torch.tensor(record.loss), "kl": torch.tensor(record.kl)}
        trained.append({**numbers, **{n: p for module in (model, guide) for n, p in module.named_parameters()}})
    check_same(*trained, 1e-6)
    assert not torch.equal(trained[0][f"sites.{guide.site_names[0]}.theta"], guide.model.initial_weights[guide.site_names[0]])


@pytest.mark.parametrize("threshold", [None, 3.0])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("network", NETWORKS)
def test_fifty_steps_of_fit_are_those_of_autograd(network: str, prior: str, threshold: float | None) -> None:
    check_fifty_steps(network, prior, train_threshold=threshold)


@pytest.mark.parametrize("prior", PRIORS)
def test_fifty_steps_with_removed_weights_are_those_of_autograd(prior: str) -> None:
    check_fifty_steps("convolutions", prior, has_mask=True)


def test_fifty_steps_of_several_batches_are_those_of_autograd() -> None:
    """The last update of an epoch is of fewer and of smaller batches."""
    check_fifty_steps("linear", "approximate", accumulate=2, batch_size=6, epochs=13)
