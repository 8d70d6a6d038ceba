"""The objective: analytic where it can be, unbiased where it cannot, and an error where it would be wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.infer import SVI
from pyro.optim import Adam
from support import ANYTHING, refuses
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vd import VariationalDropout, VariationalDropoutELBO
from pyro_vd.distributions import LogUniform, MultiplicativeNormal, NormalARD
from pyro_vd.guides import PointEstimate
from pyro_vd.inference.reparam import TRAIN_THRESHOLD
from pyro_vd.models import MLP

X, Y = torch.randn(12, 4, generator=torch.Generator().manual_seed(1)), torch.arange(12) % 3


def site(name: str, distribution: TorchDistribution) -> Callable[[], Tensor]:
    """A model or a guide of this one latent site."""
    return lambda: pyro.sample(name, distribution)


def loss_at(seed: int, elbo: VariationalDropoutELBO, model: Callable, guide: Callable, *args: Tensor) -> Tensor:
    pyro.set_rng_seed(seed)
    return elbo.differentiable_loss(model, guide, *args)


def network(**options: int) -> tuple[MLP, VariationalDropout]:
    model = MLP((4, 6, 3), **options)
    return model, VariationalDropout(model, log_sigma2=-3.0)


@pytest.mark.parametrize("prior", [LogUniform((5,)), LogUniform((5,), kl="exact"), NormalARD((5,))])
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_without_data_the_loss_is_the_analytic_kl(prior: TorchDistribution, beta: float) -> None:
    q, elbo = MultiplicativeNormal(torch.randn(5), torch.randn(5)), VariationalDropoutELBO(beta)
    losses = [loss_at(seed, elbo, site("w", prior.to_event(1)), site("w", q.to_event(1))) for seed in range(3)]
    torch.testing.assert_close(losses[0], beta * kl_divergence(q, prior).sum())
    assert losses[0] == losses[1] == losses[2]
    assert elbo.data_term == 0
    torch.testing.assert_close(elbo.kl, kl_divergence(q, prior).sum())


def test_the_loss_is_the_data_term_plus_beta_times_the_kl() -> None:
    model, guide = network(num_data=100)
    elbo = VariationalDropoutELBO()
    loss_at(1, elbo, model, guide, X, Y)
    data_term, kl = elbo.data_term, elbo.kl
    for beta in (0.0, 0.1, 1.0, 2.0):
        elbo.kl_weight = beta
        assert loss_at(1, elbo, model, guide, X, Y) == data_term + beta * kl
    assert (elbo.data_term, elbo.kl) == (data_term, kl)
    assert loss_at(2, elbo, model, guide, X, Y) != data_term + beta * kl


def test_the_data_term_is_the_cross_entropy_and_the_kl_sums_the_sites() -> None:
    model = MLP((4, 6, 3))
    guide, elbo = VariationalDropout(model, log_sigma2=-50.0), VariationalDropoutELBO()
    loss_at(1, elbo, model, guide, X, Y)
    torch.testing.assert_close(elbo.data_term, F.cross_entropy(model.output(model.initial_weights, X), Y, reduction="sum"))
    divergences = [kl_divergence(guide.posterior(name), LogUniform()).sum() for name in guide.site_names]
    torch.testing.assert_close(elbo.kl, torch.stack(divergences).sum().detach())


@pytest.mark.parametrize("noiseless_guide", [PointEstimate, lambda model: VariationalDropout(model, log_sigma2=-60.0)])
def test_losses_of_batches_average_to_that_of_all_the_data(noiseless_guide: Callable) -> None:
    guide, elbo = noiseless_guide(model := MLP((4, 6, 3), num_data=12)), VariationalDropoutELBO()
    batches = torch.stack([elbo.differentiable_loss(model, guide, X[i : i + 3], Y[i : i + 3]) for i in range(0, 12, 3)])
    torch.testing.assert_close(batches.mean(), elbo.differentiable_loss(model, guide, X, Y))


def test_svi_and_module_give_the_same_loss_and_gradient() -> None:
    model, guide = network(num_data=50)
    elbo = VariationalDropoutELBO(0.5)
    module = elbo(model, guide)
    pyro.set_rng_seed(3)
    loss = module(X, Y)
    parameters = list(module.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    svi = SVI(model, guide, Adam({"lr": 0.1}), loss=elbo)
    pyro.set_rng_seed(3)
    assert svi.evaluate_loss(X, Y) == loss
    before = [parameter.detach().clone() for parameter in parameters]
    pyro.set_rng_seed(3)
    assert svi.step(X, Y) == loss
    for parameter, old, gradient in zip(parameters, before, gradients, strict=True):
        moved = gradient.abs() > 1e-4  # Adam's first step is the sign of the gradient
        assert torch.equal((parameter - old).sign()[moved], -gradient.sign()[moved])
        assert moved.any()


def test_particles_are_averaged() -> None:
    model, guide = network()
    one, three = VariationalDropoutELBO(0.5), VariationalDropoutELBO(0.5, num_particles=3)
    singles = torch.stack(
        [loss_at(5, one, model, guide, X, Y)] + [one.differentiable_loss(model, guide, X, Y) for _ in range(2)]
    )
    torch.testing.assert_close(loss_at(5, three, model, guide, X, Y), singles.mean())
    torch.testing.assert_close(three.kl, one.kl)
    assert len(set(singles.tolist())) == 3


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_bad_kl_weight_is_quoted(value: float) -> None:
    elbo = VariationalDropoutELBO()
    with refuses("kl_weight", value, repr(value)):
        VariationalDropoutELBO(value)
    with refuses("kl_weight", value, repr(value)):
        elbo.kl_weight = value
    with refuses("num_particles", 0):
        VariationalDropoutELBO(num_particles=0)


Q, P = MultiplicativeNormal(torch.ones(2), torch.zeros(2)).to_event(1), LogUniform((2,)).to_event(1)
NORMAL = dist.Normal(torch.zeros(2), 1.0).to_event(1)
WRONG_PAIRS = {
    "no-kl-to-prior": (site("a.w", NORMAL), site("a.w", Q), "a.w", ("MultiplicativeNormal", "Normal")),
    "no-kl-from-guide": (site("a.w", P), site("a.w", NORMAL), "a.w", ("Normal", "LogUniform")),
    "not-reparameterizable": (site("n", dist.Poisson(2.0)), site("n", dist.Geometric(0.5)), "n", "Geometric"),
    "only-in-model": (site("lonely", NORMAL), lambda: None, "lonely", {"model": ["lonely"], "guide": []}),
    "only-in-guide": (lambda: None, site("lonely", NORMAL), "lonely", {"model": [], "guide": ["lonely"]}),
}


@pytest.mark.parametrize(("model", "guide", "name", "value"), WRONG_PAIRS.values(), ids=WRONG_PAIRS)
def test_a_site_without_a_right_answer_is_named(model: Callable, guide: Callable, name: str, value: Any) -> None:
    with refuses(name, value, name):
        VariationalDropoutELBO().differentiable_loss(model, guide)


def test_other_latent_sites_use_their_registered_kl() -> None:
    q, p = dist.Normal(torch.tensor([0.5, -1.0]), 0.3), dist.Normal(torch.zeros(2), 2.0)
    for seed in range(2):
        assert loss_at(seed, VariationalDropoutELBO(), site("z", p), site("z", q)) == kl_divergence(q, p).sum()


def test_a_subsampled_plate_scales_the_kl_of_its_sites() -> None:
    q, p = dist.Normal(0.5, 0.3), dist.Normal(0.0, 2.0)
    model, guide = (pyro.plate("rows", 10, subsample_size=5)(site("z", distribution)) for distribution in (p, q))
    torch.testing.assert_close(VariationalDropoutELBO().loss(model, guide), 10 * kl_divergence(q, p).item())


def test_without_a_registered_kl_monte_carlo_is_right_in_mean() -> None:
    m, s, a, b, n = torch.tensor(0.2, requires_grad=True), 0.5, 2.0, 1.5, 2000
    exact = -m - 0.5 * math.log(2 * math.pi * math.e * s**2) - a * math.log(b) + math.lgamma(a) - (a - 1) * m
    exact = exact + b * torch.exp(m + s**2 / 2)  # KL(LogNormal(m, s) ‖ Gamma(a, b))
    model, elbo = site("z", dist.Gamma(a, b)), VariationalDropoutELBO()
    losses = [elbo.differentiable_loss(model, lambda: pyro.sample("z", dist.LogNormal(m, s))) for _ in range(n)]
    gradients = [torch.autograd.grad(loss, m)[0] for loss in losses]
    for draws, expected in ((losses, exact), (gradients, torch.autograd.grad(exact, m)[0])):
        assert (torch.stack(draws).mean() - expected).abs() < 4.5 * torch.stack(draws).std() / n**0.5


@pytest.mark.parametrize("stale", ["model", "guide", "both"])
def test_a_stale_parameter_store_is_refused(stale: str) -> None:
    old_model, old_guide = network()
    SVI(old_model, old_guide, Adam({}), loss=VariationalDropoutELBO()).step(X, Y)
    new_model, new_guide = network()
    model, guide = (new_model if stale != "guide" else old_model), (new_guide if stale != "model" else old_guide)
    svi = SVI(model, guide, Adam({}), loss=VariationalDropoutELBO())
    with refuses(ANYTHING, ANYTHING, "pyro.clear_param_store()") as caught:
        svi.step(X, Y)
    assert caught.value.name in {name for new in (new_model, new_guide) for name, _ in new.named_parameters()}
    pyro.clear_param_store()
    svi.step(X, Y)


def test_the_terms_of_the_last_step_are_detached_scalars() -> None:
    elbo = VariationalDropoutELBO()
    elbo(*network())(X, Y).backward()
    assert [(type(term), term.shape, term.requires_grad) for term in (elbo.data_term, elbo.kl)] == [(Tensor, (), False)] * 2


def test_hold_zeroes_the_mean_of_noisy_weights_alone_and_leaves_the_kl() -> None:
    theta, held = torch.tensor([[1.0, -2.0, 0.5, 0.0]], requires_grad=True), torch.tensor([False, True, False, True])
    q = MultiplicativeNormal(theta, torch.tensor([2.99, 3.01, -5.0, 0.0]) + 2 * theta.detach().abs().clamp_min(1e-3).log())

    def model() -> Tensor:
        means = F.linear(torch.eye(4), pyro.sample("w", LogUniform((1, 4)).to_event(2)))
        return pyro.sample("y", dist.Delta(means, log_density=-means), obs=means)  # scored as −means

    def guide(threshold: float | None) -> Callable[[], Tensor]:
        return lambda: pyro.sample("w", q.to_event(2), infer={TRAIN_THRESHOLD: threshold})

    free, holding = VariationalDropoutELBO(), VariationalDropoutELBO()
    losses = [loss_at(7, elbo, model, guide(threshold)) for elbo, threshold in ((free, None), (holding, 3.0))]
    torch.testing.assert_close(losses[0] - losses[1], theta[0][held].sum())
    assert free.kl == holding.kl


@pytest.mark.parametrize("disabled", [torch.no_grad, torch.inference_mode])
def test_gradients_that_would_silently_be_missing_are_refused(disabled: Callable[[], Any]) -> None:
    torch.manual_seed(0)
    guide = VariationalDropout(model := MLP([4, 3, 2], num_data=8))
    x, y = torch.randn(8, 4), torch.randint(2, (8,))
    elbo = VariationalDropoutELBO()
    steps = {"backward": lambda: elbo.backward(model, guide, x, y)}
    steps["SVI.step"] = lambda: elbo.loss_and_grads(model, guide, x, y)
    for name, step in steps.items():
        with disabled(), refuses(name, False, "no_grad"):
            step()
        step()
    assert all(parameter.grad is not None for parameter in guide.parameters())
    with disabled():
        assert math.isfinite(elbo.loss(model, guide, x, y))
