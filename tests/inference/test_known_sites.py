"""Sites that a pair says itself: the loss and the gradients are those of Pyro's effect handlers, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.infer import SVI
from pyro.optim import SGD
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, GroupVariationalDropout, InputError, VariationalDropout, VariationalDropoutELBO
from pyro_vd.distributions import LogUniform, NormalARD, NormalJeffreys
from pyro_vd.guides import LogNormalDropout, PointEstimate
from pyro_vd.inference.known_sites import known_sites
from pyro_vd.models import Categorical, Normal


class ByHandlers(BayesianNetwork):
    """The same model with a ``forward`` of its own, which only Pyro's handlers can follow."""

    def forward(self, x: Any, y: Any = None) -> Any:
        return super().forward(x, y)


class WithStatement(Categorical):
    """A likelihood with a statement of Pyro's: a term of the loss, or a latent site."""

    def __init__(self, *, latent: bool) -> None:
        super().__init__()
        self.latent = latent

    def __call__(self, output: Tensor) -> Any:
        if self.latent:
            output = output * pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        else:
            pyro.factor("extra", -output.square().sum())
        return super().__call__(output)


PAIRS: dict[str, tuple[Callable[..., Any], Any]] = {
    "variational": (VariationalDropout, LogUniform),
    "variational by row": (partial(VariationalDropout, alpha_sharing="row"), LogUniform),
    "exact": (VariationalDropout, partial(LogUniform, kl="exact")),
    "ard": (VariationalDropout, NormalARD),
    "group": (GroupVariationalDropout, NormalJeffreys),
    "log-normal": (LogNormalDropout, LogUniform),
    "point": (PointEstimate, LogUniform),
}
X = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
CLASSES, NUMBERS = torch.arange(7) % 3, X[:, :3]
LIKELIHOODS: dict[str, tuple[Callable[[], Any], Tensor]] = {"classes": (lambda: None, CLASSES), "numbers": (Normal, NUMBERS)}


def pair(kind: type[BayesianNetwork], guide: Any = VariationalDropout, prior: Any = LogUniform, likelihood: Any = None) -> Any:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
    model = kind(net, likelihood, prior=prior, num_data=100)
    return model, guide(model)


def step(pair: Any, elbo: VariationalDropoutELBO, y: Tensor = CLASSES) -> list[Tensor]:
    """The loss, its terms and the gradients of one step."""
    torch.manual_seed(2)
    loss = elbo(*pair)(X, y)
    loss.backward()
    gradients = [parameter.grad for module in pair for parameter in module.parameters() if parameter.grad is not None]
    return [loss.detach(), elbo.data_term, elbo.kl, *elbo.site_kl.values(), *gradients]


def is_known(pair: Any, *args: Any, **kwargs: Any) -> bool:
    return known_sites(*pair, args or (X, CLASSES), kwargs, "position") is not None


@pytest.mark.parametrize("threshold", [None, 1.0])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("name", PAIRS)
def test_a_step_is_the_same_bit_for_bit(name: str, likelihood: str, threshold: float | None) -> None:
    made_by, y = LIKELIHOODS[likelihood]
    steps = []
    for model in (BayesianNetwork, ByHandlers):
        made = pair(model, *PAIRS[name], likelihood=made_by())
        if made[1].learns_alpha:
            made[1].train_threshold = threshold
        assert is_known(made, X, y) is (model is BayesianNetwork)
        steps.append(step(made, VariationalDropoutELBO(0.3, num_particles=2), y))
    assert len(steps[0]) == len(steps[1]) > 7
    assert all(map(torch.equal, *steps))


def test_statements_in_the_likelihood_are_terms_of_the_loss() -> None:
    made = [pair(kind, likelihood=WithStatement(latent=False)) for kind in (BayesianNetwork, ByHandlers)]
    assert [is_known(each) for each in made] == [True, False]
    known, found = (step(each, VariationalDropoutELBO()) for each in made)
    assert all(map(torch.equal, known, found))
    assert known[1] > step(pair(BayesianNetwork), VariationalDropoutELBO())[1]


def test_latent_sites_in_the_likelihood_are_refused() -> None:
    with pytest.raises(InputError, match=r"only the model has the latent sites \['scale'\]"):
        step(pair(BayesianNetwork, likelihood=WithStatement(latent=True)), VariationalDropoutELBO())


def test_svi_trains_the_same_parameters() -> None:
    trained = []
    for kind in (BayesianNetwork, ByHandlers):
        pyro.clear_param_store()
        model, guide = pair(kind, likelihood=Normal())
        svi = SVI(model, guide, SGD({"lr": 1e-4}), VariationalDropoutELBO())
        torch.manual_seed(2)
        losses = [svi.step(X, NUMBERS) for _ in range(3)]
        trained.append([torch.tensor(losses), *model.parameters(), *guide.parameters()])
        assert len(pyro.get_param_store()) == len(trained[-1]) - 1
    pyro.clear_param_store()
    torch.testing.assert_close(*trained)  # the gradient of the KL is added in closed form


def test_what_only_handlers_can_follow_is_left_to_them() -> None:
    model, guide = made = pair(BayesianNetwork)
    assert is_known(made)
    with poutine.trace(param_only=True):
        assert is_known(made)
    with poutine.trace():
        assert not is_known(made)
    with poutine.scale(scale=2.0):
        assert not is_known(made)
    assert not is_known(made, X, None)
    assert not is_known(made, X, y=CLASSES)
    assert not is_known((model, lambda x, y: guide(x, y)))
    assert not is_known((lambda x, y: model(x, y), guide))
    for module in made:
        hook = module.register_forward_hook(lambda *_: None)
        assert not is_known(made)
        hook.remove()
        assert is_known(made)
    guide.append(nn.Identity())
    assert not is_known(made)
