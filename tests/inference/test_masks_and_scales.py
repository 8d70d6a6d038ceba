"""A mask or a scale counts every site once, or is refused with the site and both shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
import torch.nn.functional as F
from pyro.infer import SVI
from pyro.optim import Adam
from support import refuses
from torch import Tensor, nn
from torch.distributions import kl_divergence

from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    VariationalDropout,
    VariationalDropoutELBO,
    evaluate,
    fit,
    to_inference_data,
)
from pyro_vd.distributions import LogUniform, NormalJeffreys
from pyro_vd.posterior import predictive
from pyro_vd.posterior.arviz_files import to_tree

N = 12
X, Y = torch.randn(N, 4, generator=torch.Generator().manual_seed(1)), torch.arange(N) % 3
KEEP = torch.arange(N) < 5
PRIORS = {VariationalDropout: LogUniform, GroupVariationalDropout: NormalJeffreys}


def pair(kind: Callable = VariationalDropout) -> tuple[BayesianNetwork, Any]:
    torch.manual_seed(0)
    model = BayesianNetwork(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), prior=PRIORS[kind])
    return model, kind(model, log_sigma2=-3.0)


def terms(model: Callable, guide: Callable, *args: Any, **options: Any) -> tuple[Tensor, Tensor]:
    """Data term and KL, the same noise each time."""
    pyro.set_rng_seed(3)
    elbo = VariationalDropoutELBO(**options)
    elbo.loss(model, guide, *args)
    return elbo.data_term, elbo.kl


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize("shape", [(N,), (2,), (3, 1), (1, N), (N, 1), (2, 1, 1)])
@pytest.mark.parametrize("handler", ["mask", "scale"])
@pytest.mark.parametrize("round_both", [False, True])
def test_one_that_would_count_a_weight_site_again_names_it_and_both_shapes(
    kind: Callable, shape: tuple[int, ...], handler: str, round_both: bool
) -> None:
    model, guide = pair(kind)
    change = getattr(poutine, handler)(**{handler: torch.ones(shape, dtype=torch.bool if handler == "mask" else torch.float)})
    fields = ("0.weight", shape, handler, shape, "()")
    with refuses(*fields):
        VariationalDropoutELBO(num_particles=2).loss(change(model), change(guide) if round_both else guide, X, Y)
    with refuses(*fields), change:
        fit(guide, (X, Y), epochs=1, progress=False)
    with refuses(*fields):
        SVI(change(model), guide, Adam({}), loss=VariationalDropoutELBO()).step(X, Y)


@pytest.mark.parametrize("kind", PRIORS)
@pytest.mark.parametrize("value", [0.25, 3, torch.tensor([0.25]), torch.full((1, 1), 2.0), np.float32(0.25)])
def test_a_scale_of_one_number_multiplies_every_term_by_it(kind: Callable, value: Any) -> None:
    model, guide = pair(kind)
    plain = terms(model, guide, X, Y, num_particles=2)
    for scaled_guide in (guide, poutine.scale(guide, scale=value)):
        scaled = terms(poutine.scale(model, scale=value), scaled_guide, X, Y, num_particles=2)
        torch.testing.assert_close(torch.stack(scaled), float(value) * torch.stack(plain))


@pytest.mark.parametrize("value", [True, False, 1, 0, 1.0, torch.tensor(True), torch.tensor([False]), np.True_])
def test_a_mask_of_one_truth_value_keeps_or_drops_every_term(value: Any) -> None:
    model, guide = pair()
    plain, masked = terms(model, guide, X, Y), terms(poutine.mask(model, mask=value), guide, X, Y)
    torch.testing.assert_close(torch.stack(masked), float(value) * torch.stack(plain))


@pytest.mark.parametrize("how", ["mask", "distribution", "scale"])
def test_a_mask_of_examples_inside_the_model_counts_each_once(how: str) -> None:
    network, _ = pair()
    guide = VariationalDropout(network, log_sigma2=-50.0)

    def model(x: Tensor, y: Tensor) -> None:
        observation = dist.Categorical(logits=network.sample_output(x))
        around: Any = {"mask": poutine.mask(mask=KEEP), "scale": poutine.scale(scale=KEEP + 1e-12)}.get(
            how, poutine.scale(scale=1)
        )
        with pyro.plate("data", len(x)), around:
            pyro.sample("y", observation.mask(KEEP) if how == "distribution" else observation, obs=y)

    data_term, kl = terms(model, guide, X, Y)
    each = F.cross_entropy(network.output(network.initial_weights, X), Y, reduction="none")
    torch.testing.assert_close(data_term, each[KEEP].sum())
    torch.testing.assert_close(kl, terms(network, guide, X, Y)[1])


def test_what_would_count_observations_again_is_refused() -> None:
    def model(scale: Any = 1.0, mask: Any = True, batch: tuple[int, ...] = (N,), inner: Any = None) -> None:
        normal = dist.Normal(torch.zeros(batch), 1.0)
        with poutine.scale(scale=scale), poutine.mask(mask=mask):
            pyro.sample("y", normal if inner is None else normal.mask(inner), obs=X[:, 0])

    twice = torch.ones(2, N)
    for options, shape, mentioned in (
        ({"scale": twice}, (2, N), ("scale", (N,))),
        ({"mask": twice > 0}, (2, N), ("mask", (N,))),
        ({"scale": torch.ones(N, 1)}, (N, 1), ("scale", (N,))),
        ({"batch": (2, N)}, (N,), ((2, N),)),
        ({"inner": twice > 0}, (N,), ((2, N),)),
    ):
        with refuses("y", shape, *mentioned):
            VariationalDropoutELBO().loss(lambda options=options: model(**options), lambda: None)


def latent(
    name: str, scale: float = 1.0, plate: int | None = None, event: bool = False, mask: Any = None, **normal: Any
) -> Callable:
    """A model or guide of a normal site, of five numbers where it has a plate or an event."""

    def function() -> None:
        q = dist.Normal(torch.zeros(5) if event else torch.tensor(0.0), scale)
        q = q.to_event(1) if event else q
        q = q if mask is None else q.mask(mask)
        with pyro.plate("rows", 5, subsample_size=plate) if plate else poutine.scale(scale=1.0):
            pyro.sample(name, q)

    return function


ROWS = torch.tensor([True, False, True, True, False])
OTHER = ~ROWS


def test_masks_on_latent_sites_and_their_distributions() -> None:
    def kl(model: Callable, guide: Callable) -> float:
        return terms(model, guide)[1].item()

    one = kl_divergence(dist.Normal(0.0, 0.5), dist.Normal(0.0, 1.0)).item()
    model, guide = latent("z", plate=5), latent("z", 0.5, plate=5)
    assert kl(model, guide) == pytest.approx(5 * one)
    assert kl(poutine.mask(model, mask=ROWS), guide) == pytest.approx(3 * one)
    assert kl(poutine.mask(model, mask=ROWS), poutine.mask(guide, mask=ROWS)) == pytest.approx(3 * one)
    assert kl(poutine.scale(model, scale=ROWS + 1.0), guide) == pytest.approx(8 * one)
    assert kl(latent("z", plate=5, mask=ROWS), latent("z", 0.5, plate=5)) == pytest.approx(3 * one)
    assert kl(latent("z", plate=5, mask=ROWS), latent("z", 0.5, plate=5, mask=ROWS)) == pytest.approx(3 * one)
    assert kl(latent("z", plate=5, mask=False), latent("z", 0.5, plate=5, mask=True)) == 0
    assert kl(latent("z", plate=2), latent("z", 0.5, plate=2)) == pytest.approx(5 * one), "subsampled"
    assert kl(latent("z", event=True, mask=True), latent("z", 0.5, event=True)) == pytest.approx(5 * one)


WRONG = {
    "event-against-batch": (latent("z", event=True), latent("z", plate=5), ((5,), ()), ["() + (5,)"]),
    "batch-against-event": (latent("z", plate=5), latent("z", event=True), ((), (5,)), ["(5,) + ()"]),
    "expanded-by-mask": (latent("z", mask=ROWS), latent("z"), ((), ()), ["(5,) + ()"]),
    "guide-scaled": (latent("z"), poutine.scale(latent("z"), scale=0.5), 0.5, ["scale", "0.5", "1.0"]),
    "guide-masked": (latent("z"), poutine.mask(latent("z"), mask=False), False, ["mask", "False", "None"]),
    "other-mask": (
        poutine.mask(latent("z", plate=5), mask=ROWS),
        poutine.mask(latent("z", plate=5), mask=OTHER),
        OTHER,
        ["mask", "(5,)"],
    ),
}


@pytest.mark.parametrize(("model", "guide", "value", "mentioned"), WRONG.values(), ids=WRONG)
def test_latent_sites_that_do_not_match_are_refused(model: Callable, guide: Callable, value: Any, mentioned: list[str]) -> None:
    with refuses("z", value, *mentioned):
        VariationalDropoutELBO().loss(model, guide)


def test_a_network_in_a_plate_is_refused() -> None:
    model, guide = pair()
    with refuses("0.weight"):
        VariationalDropoutELBO().loss(pyro.plate("outer", N, dim=-2)(model), guide, X, Y)


@pytest.mark.parametrize(
    "around", [poutine.mask(mask=KEEP), poutine.mask(mask=False), poutine.scale(scale=torch.rand(N, 2) + 1)]
)
def test_what_is_round_it_does_not_change_an_evaluation(around: Any) -> None:
    _model, guide = pair()
    for evaluated in (
        lambda: evaluate(guide, (X, Y)).nll,
        lambda: predictive(guide, X).sum().item(),
        lambda: to_tree(to_inference_data(guide, (X, Y), num_samples=5))["log_likelihood"]["y"].values.sum(),
    ):
        pyro.set_rng_seed(2)
        wanted = evaluated()
        pyro.set_rng_seed(2)
        with around:
            assert evaluated() == wanted
