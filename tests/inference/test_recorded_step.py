"""A recorded step is the step itself: same noise, same terms and gradients, for every kind of layer, guide and prior."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from support import refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, GroupVariationalDropout, VariationalDropout, VariationalDropoutELBO
from pyro_vd.distributions import LogUniform, NormalARD, NormalJeffreys
from pyro_vd.guides import BernoulliDropout, GaussianDropout, LogNormalDropout, PointEstimate
from pyro_vd.inference import recording_checks
from pyro_vd.inference.recorded_step import RecordedStep, record
from pyro_vd.models import Normal
from pyro_vd.networks.precision import lowered

N, CLASSES = 12, 3


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(20, 6), kind(6, 8, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(x))[0][:, -1])


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.embedding(x)).mean(1))


class Twice(nn.Module):
    """A weight that is used twice, which is drawn once a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(10, 10), nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(self.inner(x).relu()).relu())


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, CLASSES))


ROWS, IMAGES, TOKENS = torch.randn(N, 10), torch.randn(N, 4, 8, 8), torch.randint(20, (N, 5))
LAYERS: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "linear": (mlp, ROWS),
    "normalisation and dropout": (
        lambda: nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, CLASSES)),
        ROWS,
    ),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, CLASSES)),
        IMAGES,
    ),
    "grouped and transposed convolution": (
        lambda: nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ConvTranspose2d(8, 4, 2), nn.Flatten(), nn.Linear(196, CLASSES)),
        IMAGES,
    ),
    "a weight used twice": (Twice, ROWS),
    "embedding and GRU": (partial(Recurrent, nn.GRU), TOKENS),
    "attention": (Attention, TOKENS),
}
Guide = Callable[[BayesianNetwork], Any]
GUIDES: dict[str, tuple[Guide, dict[str, Any]]] = {
    "exact": (VariationalDropout, {"prior": partial(LogUniform, kl="exact")}),
    "ARD": (VariationalDropout, {"prior": NormalARD}),
    "priors on biases": (VariationalDropout, {"include": ["*.bias"]}),
    "shared α": (partial(VariationalDropout, alpha_sharing="row"), {}),
    "group": (GroupVariationalDropout, {"prior": NormalJeffreys}),
    "log-normal": (LogNormalDropout, {}),
    "Gaussian": (partial(GaussianDropout, p=0.3), {}),
    "Bernoulli": (partial(BernoulliDropout, p=0.3), {}),
    "point": (PointEstimate, {}),
}


def pair(net: nn.Module, guide: Guide = VariationalDropout, **options: Any) -> tuple[Any, Any]:
    model = BayesianNetwork(net, num_data=100, **options).train()
    return model, guide(model)


def terms(elbo: VariationalDropoutELBO, loss: Tensor) -> list[Tensor]:
    return [loss, elbo.data_term, elbo.kl, *elbo.site_kl.values()]


def assert_recorded(elbo: VariationalDropoutELBO, model: Any, guide: Any, x: Tensor, y: Tensor) -> RecordedStep:
    """Compare steps of other batches and other β than the one that was recorded."""
    elbo.try_out(model, guide, x, y)
    parameters = [p for p in (*model.parameters(), *guide.parameters()) if p.requires_grad]
    buffers = {name: buffer for name, buffer in model.named_buffers() if name.partition("net.")[2] not in model.weight_names}
    while model.gradient_watch.is_waiting:
        torch.autograd.grad(elbo.differentiable_loss(model, guide, x, y), parameters, allow_unused=True)
    before, generator = {name: buffer.clone() for name, buffer in buffers.items()}, torch.get_rng_state()
    step = record(elbo, model, guide, parameters, x, y)
    assert torch.equal(generator, torch.get_rng_state())
    assert all(torch.equal(buffer, before[name]) for name, buffer in buffers.items())
    for seed, kl_weight in ((0, 0.0), (1, 0.3), (2, 1.0)):
        order = torch.randperm(N)
        batch, elbo.kl_weight = (x[order], y[order]), kl_weight
        found = []
        for is_recorded in (False, True):
            for name, buffer in buffers.items():
                buffer.copy_(before[name])
            for parameter in parameters:
                parameter.grad = None
            torch.manual_seed(seed)
            if is_recorded:
                noise = [draw() for draw in step.draws]
                with torch.no_grad():
                    made, gradients = step.graph(torch.tensor(kl_weight, dtype=parameters[0].dtype), *batch, *noise)
            else:
                made = torch.stack(terms(elbo, elbo.backward(model, guide, *batch)))
                gradients = [parameter.grad for parameter in parameters]
            found.append((made, gradients, [buffer.clone() for buffer in buffers.values()], torch.get_rng_state()))
        torch.testing.assert_close(found[1], found[0], rtol=2e-5, atol=2e-5)
    assert list(elbo.site_kl) == step.sites
    return step


@pytest.mark.parametrize("case", LAYERS)
def test_layers(case: str) -> None:
    make, x = LAYERS[case]
    torch.manual_seed(0)
    model, guide = pair(make(), partial(VariationalDropout, log_sigma2=-3.0))
    step = assert_recorded(VariationalDropoutELBO(), model, guide, x, torch.arange(N) % CLASSES)
    assert step.draws
    assert step.closed == frozenset(model.weight_names)


@pytest.mark.parametrize("case", GUIDES)
def test_guides_and_priors(case: str) -> None:
    guide, options = GUIDES[case]
    torch.manual_seed(0)
    assert_recorded(VariationalDropoutELBO(), *pair(mlp(), guide, **options), ROWS, torch.arange(N) % CLASSES)


@pytest.mark.parametrize("noise", ["position", "example"])
@pytest.mark.parametrize("particles", [1, 2])
def test_settings_of_the_objective(noise: Any, particles: int) -> None:
    torch.manual_seed(0)
    make, x = LAYERS["convolution"]
    model, guide = pair(make(), partial(VariationalDropout, log_sigma2=-3.0))
    elbo = VariationalDropoutELBO(num_particles=particles, noise=noise, kl_weights={"0.*": 0.1})
    assert_recorded(elbo, model, guide, x, torch.arange(N) % CLASSES)


def test_masks_a_threshold_and_a_learnt_scale_in_float64() -> None:
    torch.manual_seed(0)
    model, guide = pair(mlp().double(), partial(VariationalDropout, log_sigma2=-3.0), likelihood=Normal().double())
    guide.train_threshold = 1.0
    guide.apply_masks({name: torch.rand(weight.shape) < 0.7 for name, weight in model.initial_weights.items()})
    assert_recorded(VariationalDropoutELBO(), model, guide, ROWS.double(), torch.randn(N, CLASSES).double())


def test_mixed_precision() -> None:
    torch.manual_seed(0)
    model, guide = pair(mlp(), partial(VariationalDropout, log_sigma2=-3.0))
    with lowered(model, "bf16-mixed"):
        assert_recorded(VariationalDropoutELBO(), model, guide, ROWS, torch.arange(N) % CLASSES)


class Refused(nn.Module):
    """A network with a layer that does in its forward pass what a graph would not repeat."""

    def __init__(self, does: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.before, self.strange, self.head = nn.Linear(10, 8), Strange(does), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.strange(self.before(x)))


class Strange(nn.Module):
    def __init__(self, does: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.does, self.calls, self._calls, self.seen = does, 0, 0, None
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.does(self, x)


def count(module: Any, x: Tensor) -> Tensor:
    module.calls += 1
    return x


def count_privately(module: Any, x: Tensor) -> Tensor:
    module._calls += 1
    return x / module._calls


def assign(module: Any, x: Tensor) -> Tensor:
    module.mean = 0.5 * (module.mean + x.detach().mean(0))
    return x - module.mean


def keep(module: Any, x: Tensor) -> Tensor:
    module.seen = x
    return x


OTHER_GENERATOR = torch.Generator()
REFUSED: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], str]] = {
    "a branch": (lambda _, x: x if x.sum() > 0 else -x, "'strange' (Strange)"),
    "a shape": (lambda _, x: x + x[x > 0].sum(), "'strange' (Strange)"),
    "noise by numbers": (lambda _, x: x * torch.bernoulli(x.sigmoid()), "'strange' (Strange)"),
    "another generator": (lambda _, x: x * torch.rand(x.shape, generator=OTHER_GENERATOR), "'strange' (Strange)"),
    "too many operations": (lambda _, x: sum((x.sin() for _ in range(300)), x), "'strange' (Strange)"),
    "a counter": (count, "'strange.calls'"),
    "a private counter": (count_privately, "'strange._calls'"),
    "a buffer that is assigned": (assign, "'strange.mean'"),
    "numbers in a list": (lambda _, x: x * x.tolist()[0][0], "'strange' (Strange)"),
    "numbers in an array": (lambda _, x: x * float(x.detach().numpy().max()), "'strange' (Strange)"),
    "numbers that NumPy takes": (lambda _, x: x * float(np.asarray(x.detach()).max()), "'strange' (Strange)"),
    "an activation that is kept": (keep, "'strange.seen'"),
    "noise of Python": (lambda _, x: x * random.random(), "Python"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_graph_would_freeze_is_refused(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_checks, "MOST_OPERATIONS", 500)
    does, named = REFUSED[case]
    model, guide = pair(Refused(does))
    elbo, y = VariationalDropoutELBO(), torch.arange(N) % CLASSES
    elbo.try_out(model, guide, ROWS, y)
    parameters = [*model.parameters(), *guide.parameters()]
    while model.gradient_watch.is_waiting:
        torch.autograd.grad(elbo.differentiable_loss(model, guide, ROWS, y), parameters, allow_unused=True)
    strange = model.net.strange
    before = strange.calls, strange._calls, strange.mean
    mean = strange.mean.clone()
    with refuses("compile", True, named, "compile=False"):
        record(elbo, model, guide, parameters, ROWS, y)
    assert (strange.calls, strange._calls) == before[:2], "the attributes are those before"
    assert strange.mean is before[2]
    assert torch.equal(strange.mean, mean)


class Counting(nn.Module):
    """A likelihood that counts its calls, in an attribute or in a buffer that it assigns."""

    def __init__(self, in_buffer: bool) -> None:
        super().__init__()
        self.calls: Any = 0
        if in_buffer:
            del self.calls
            self.register_buffer("calls", torch.zeros(()))

    def forward(self, output: Tensor) -> dist.Categorical:
        self.calls = self.calls + 1
        return dist.Categorical(logits=output / self.calls)


@pytest.mark.parametrize("in_buffer", [False, True])
def test_a_likelihood_that_would_be_frozen_is_refused(in_buffer: bool) -> None:
    model, guide = pair(mlp(), likelihood=Counting(in_buffer))
    with refuses("compile", True, "'likelihood.calls'"):
        assert_recorded(VariationalDropoutELBO(), model, guide, ROWS, torch.arange(N) % CLASSES)


def test_a_recurrent_layer_that_is_one_function_is_refused() -> None:
    model, guide = pair(Recurrent(nn.LSTM))
    with refuses("compile", True, "'rnn' (LSTM)"):
        assert_recorded(VariationalDropoutELBO(), model, guide, TOKENS, torch.arange(N) % CLASSES)
