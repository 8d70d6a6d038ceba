"""Networks that others wrote have factors on the units of every layer, shared where units go together, that learn."""

from __future__ import annotations

import warnings

import pyro.distributions as dist
import pytest
from torch import Tensor
from zoo import ZOO, Specimen

from pyro_vd import BayesianNetwork, GroupVariationalDropout, VariationalDropoutELBO
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.models import Categorical

FAST = {"nn.TransformerEncoder classifier", "LSTM classifier", "Hugging Face GPT-2"}
CHAIN = "vgg11_bn"
"""The only network without units that several layers read."""


def of_each_token(logits: Tensor) -> dist.Distribution:
    return dist.Categorical(logits=logits, validate_args=False).to_event(1)


@pytest.mark.parametrize(
    "specimen",
    [pytest.param(each, id=each.name, marks=[pytest.mark.slow] * (each.name not in FAST)) for each in ZOO],
)
def test_factors_are_made_and_learn(specimen: Specimen) -> None:
    x, y = specimen.seeded_batch(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the packages
        likelihood = of_each_token if y.ndim == 2 else Categorical()
        model = BayesianNetwork(specimen.seeded(), likelihood, prior=NormalJeffreys, output=specimen.output)
        guide = GroupVariationalDropout(model, log_sigma2=-6.0, example=x)
        families = [len(guide.sites_with_units_of(name)) for name in guide.site_names]
        assert (max(families) > 1) != specimen.name.endswith(CHAIN)
        VariationalDropoutELBO(kl_weight=0.0)(model, guide)(x, y).backward()
    for name, parameter in guide.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all(), name
        site = name.removeprefix("sites.").rpartition(".")[0]
        assert bool(parameter.grad.any()) or site in specimen.without_gradient, name
