"""The whole method in one file, ``runs/mini_vd.py``, agrees with the library: KL, objective, masks, training."""

from __future__ import annotations

import math
import re
import statistics
from pathlib import Path

import pyro
import pytest
import torch
from support import ENVIRONMENT, python
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_vd import KLWeight, VariationalDropout, VariationalDropoutELBO, evaluate, fit, load_data, log_alpha
from pyro_vd import prune as library_prune
from pyro_vd.distributions.kl import kl_approximate
from pyro_vd.models import MLP
from pyro_vd.networks.sizes import compression
from pyro_vd.pruning import threshold_masks
from pyro_vd.runs import mini_vd

SIZES = (64, 30, 10)


@pytest.fixture
def digits() -> tuple[Tensor, Tensor]:
    data = load_data("digits")
    return data.x_train, data.y_train


def pair(num_data: int, log_sigma2: float = -10.0) -> tuple[mini_vd.Model, mini_vd.Guide, MLP, VariationalDropout]:
    """Model and guide of the file and of the library, in float64 and with the same parameters."""
    model = mini_vd.Model(SIZES, num_data).double()
    guide = mini_vd.Guide(model, log_sigma2).double()
    library_model = MLP(SIZES, num_data=num_data).double()
    library_guide = VariationalDropout(library_model, log_sigma2).double()
    with torch.no_grad():
        for site, theta in zip(library_guide.site_names, guide.thetas, strict=True):
            library_guide.site(site).theta.copy_(theta)
        for layer, bias in zip(library_biases(library_model), model.biases, strict=True):
            layer.copy_(bias.normal_())
    return model, guide, library_model, library_guide


def library_biases(model: MLP) -> list[Tensor]:
    return [parameter for name, parameter in model.named_parameters() if name.endswith("bias")]


def parameters(model: mini_vd.Model, guide: mini_vd.Guide) -> list[Tensor]:
    return [*guide.thetas, *guide.log_sigma2s, *model.biases]


def library_parameters(model: MLP, guide: VariationalDropout) -> list[Tensor]:
    sites = [guide.site(name) for name in guide.site_names]
    return [*(site.theta for site in sites), *(site.log_sigma2 for site in sites), *library_biases(model)]


def test_kl_and_its_gradients_are_the_librarys() -> None:
    theta = torch.tensor([[1.0], [-0.03]], dtype=torch.float64).expand(2, 401)
    log_sigma2 = torch.linspace(-40, 60, 401, dtype=torch.float64) + 2 * theta.abs().log()  # log α from −40 to 60
    results = []
    for divergence in (
        lambda theta, log_sigma2: kl_divergence(mini_vd.MultiplicativeNormal(theta, log_sigma2), mini_vd.LogUniform()),
        kl_approximate,
    ):
        inputs = theta.clone().requires_grad_(), log_sigma2.clone().requires_grad_()
        value = divergence(*inputs)
        results.append((value.detach(), *torch.autograd.grad(value.sum(), inputs)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-12, atol=0)


def test_a_mean_of_zero_has_a_finite_gradient() -> None:
    theta, log_sigma2 = torch.zeros(3, requires_grad=True), torch.tensor([-60.0, -10.0, 5.0], requires_grad=True)
    value = kl_divergence(mini_vd.MultiplicativeNormal(theta, log_sigma2), mini_vd.LogUniform())
    gradients = torch.autograd.grad(value.sum(), (theta, log_sigma2))
    assert all((result.abs() < 1e-30).all() for result in (value, *gradients))


def test_objective_and_its_gradients_are_the_librarys_for_the_same_noise(digits: tuple[Tensor, Tensor]) -> None:
    x, y = digits[0][:50].double() - 0.5, digits[1][:50]  # inputs of both signs
    model, guide, library_model, library_guide = pair(len(digits[0]), log_sigma2=-3.0)
    elbo = VariationalDropoutELBO(kl_weight=0.3)
    pyro.set_rng_seed(1)
    log_likelihood, divergence = mini_vd.elbo_terms(model, guide, x, y)
    pyro.set_rng_seed(1)
    loss = elbo.differentiable_loss(library_model, library_guide, x, y)
    torch.testing.assert_close((-log_likelihood, divergence), (elbo.data_term, elbo.kl), rtol=1e-12, atol=0)
    gradients = torch.autograd.grad(-log_likelihood + 0.3 * divergence, parameters(model, guide))
    expected = torch.autograd.grad(loss, library_parameters(library_model, library_guide))
    torch.testing.assert_close(gradients, expected, rtol=1e-9, atol=1e-9)


def test_weights_are_pruned_where_the_library_prunes_them() -> None:
    _, guide, library_model, library_guide = pair(100)
    with torch.no_grad():
        for site, log_sigma2 in zip(library_guide.site_names, guide.log_sigma2s, strict=True):
            library_guide.site(site).log_sigma2.copy_(log_sigma2.normal_(-4, 3))
    weights, net = mini_vd.prune(guide), library_prune(library_guide)
    expected = [net.get_parameter(name) for name in library_model.weight_names]
    assert all(map(torch.equal, weights, expected))
    masks = threshold_masks(log_alpha(library_guide), mini_vd.THRESHOLD)
    assert all(map(torch.equal, [weight != 0 for weight in weights], masks.values()))
    left = sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)
    assert 0.1 < left < 0.9


def test_a_training_takes_the_same_steps_as_one_with_the_librarys_objective(digits: tuple[Tensor, Tensor]) -> None:
    """From the same parameters, with the same batches and noise: Adam on the library's ELBO ends at the same parameters."""
    x, y = digits[0].double(), digits[1]
    epochs, warm_up = 4, 3
    model, guide, library_model, library_guide = pair(len(x), log_sigma2=-5.0)
    pyro.set_rng_seed(2)
    mini_vd.train(model, guide, x, y, epochs, warm_up)

    elbo = VariationalDropoutELBO()
    optimizer = torch.optim.Adam([*library_model.parameters(), *library_guide.parameters()], lr=mini_vd.LR)
    pyro.set_rng_seed(2)
    for epoch in range(epochs):
        elbo.kl_weight = min(1.0, epoch / warm_up)
        for batch in torch.randperm(len(x)).split(mini_vd.BATCH):
            optimizer.zero_grad()
            elbo.differentiable_loss(library_model, library_guide, x[batch], y[batch]).backward()
            optimizer.step()

    trained, expected = parameters(model, guide), library_parameters(library_model, library_guide)
    torch.testing.assert_close(trained, expected, rtol=0, atol=1e-6)
    assert all((theta - start).abs().max() > 0.1 for theta, start in zip(trained, parameters(*pair(1)[:2]), strict=True))


@pytest.mark.slow
def test_a_training_reaches_what_fit_reaches() -> None:
    """Mean log compression and mean error of two trainings each, of 20 epochs.

    Log compression has a standard deviation of 0.08 from seed to seed, measured over eight seeds, so the difference of two
    means of two has a standard error of 0.08; the errors are shares of 360 test images.
    """
    data, epochs, warm_up = load_data("digits"), 20, 6
    mini, library = [], []
    for seed in range(2):
        pyro.set_rng_seed(seed)
        model = mini_vd.Model(SIZES, len(data.x_train))
        guide = mini_vd.Guide(model)
        mini_vd.train(model, guide, data.x_train, data.y_train, epochs, warm_up)
        weights = mini_vd.prune(guide)
        total, left = sum(weight.numel() for weight in weights), sum(int(weight.count_nonzero()) for weight in weights)
        mini.append((math.log(total / left), mini_vd.error(model, weights, data.x_test, data.y_test)))

        library_model = MLP(SIZES)
        library_guide = VariationalDropout(library_model)
        schedule = KLWeight(value=1.0, start=0, end=warm_up)
        options = {"epochs": epochs, "batch_size": mini_vd.BATCH, "lr": mini_vd.LR, "kl_weight": schedule, "progress": False}
        fit(library_guide, data, **options)
        net = library_prune(library_guide)
        library.append((math.log(compression(net, library_model.weight_names)), evaluate(net, data.test).error))
    (compressed, error), (expected, expected_error) = (
        map(statistics.mean, zip(*runs, strict=True)) for runs in (mini, library)
    )
    assert abs(compressed - expected) < 4 * 0.08
    assert abs(error - expected_error) < 4 * math.sqrt(2 * expected_error * (1 - expected_error) / len(data.y_test) / 2)
    assert min(compressed, expected) > math.log(3)
    assert max(error, expected_error) < 0.1


@pytest.mark.slow
def test_it_runs_where_the_library_cannot_be_imported() -> None:
    code = "import sys; sys.modules['pyro_vd'] = None; import mini_vd; mini_vd.EPOCHS = 2; mini_vd.main()"
    environment = {**ENVIRONMENT, "PYTHONPATH": str(Path(mini_vd.__file__).parent)}
    result = python(code, env=environment)
    assert result.returncode == 0, result.stderr
    left, error = result.stdout.splitlines()
    assert re.fullmatch(r"[1-9]\d+ of 7400 weights are left, [1-9]\d*\.\d times fewer", left)
    assert re.fullmatch(r"error on the test images: \d+\.\d\d %", error)
