"""Networks that others wrote: nearly all of their parameters get a prior, and every site learns from the data."""

from __future__ import annotations

import warnings

import pyro.distributions as dist
import pytest
from torch import Tensor
from zoo import ZOO, Specimen

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO
from pyro_vd.models import Categorical


def of_each_token(logits: Tensor) -> dist.Distribution:
    return dist.Categorical(logits=logits, validate_args=False).to_event(1)


@pytest.mark.parametrize("specimen", ZOO, ids=lambda specimen: specimen.name)
def test_sites_hold_the_parameters_and_learn(specimen: Specimen) -> None:
    x, y = specimen.seeded_batch(4)
    net = specimen.seeded(small=True)
    likelihood = of_each_token if y.ndim == 2 else Categorical()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the packages
        model = BayesianNetwork(net, likelihood, output=specimen.output)
        guide = VariationalDropout(model)
        share = sum(w.numel() for w in model.initial_weights.values()) / sum(p.numel() for p in net.parameters())
        assert share > 0.9
        VariationalDropoutELBO(kl_weight=0.0)(model, guide)(x, y).backward()
    for name in model.weight_names:
        site = guide.site(name)
        assert site.theta.grad.isfinite().all()
        has_gradient = name not in specimen.without_gradient
        assert bool(site.theta.grad.any()) == has_gradient, f"gradient at θ of {name}"
        assert bool(site.log_sigma2.grad.any()) == has_gradient, f"gradient at log σ² of {name}"
