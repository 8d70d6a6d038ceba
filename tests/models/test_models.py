"""Models and guides: no given network is changed, every parameter learns, and the result is right."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import pytest
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, fit, prune
from pyro_vd.guides import PointEstimate
from pyro_vd.models import LeNet300


def conv_net() -> nn.Module:
    layers = [nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(8, 3)]
    return nn.Sequential(*layers)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.lstm, self.out = nn.Embedding(5, 4), nn.LSTM(4, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(self.embed(x))[0][:, -1])


class Twice(nn.Module):
    """A network with one weight for both halves of its output."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.a = nn.Linear(6, 3, bias=False)
        if how == "tied weight":
            self.b = nn.Linear(6, 3, bias=False)
            self.b.weight = self.a.weight
        elif how == "one module, two names":
            self.b = self.a

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), getattr(self, "b", self.a)(x)], 1)


INPUTS: dict[str, tuple[Callable[[], nn.Module], Callable[[], Tensor]]] = {
    "mlp": (lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), lambda: torch.randn(30, 6)),
    "conv": (conv_net, lambda: torch.randn(30, 1, 6, 6)),
    "recurrent": (Recurrent, lambda: torch.randint(5, (30, 4))),
    "bare layer": (lambda: nn.Linear(6, 3), lambda: torch.randn(30, 6)),
    "transposed": (
        lambda: nn.Sequential(nn.ConvTranspose1d(2, 3, 3), nn.Flatten(), nn.Linear(18, 3)),
        lambda: torch.randn(30, 2, 4),
    ),
}
every_net = pytest.mark.parametrize(("make", "make_input"), INPUTS.values(), ids=INPUTS)


def loss_module(net: nn.Module, **options: object) -> nn.Module:
    model = BayesianNetwork(net, **options)
    return VariationalDropoutELBO()(model, VariationalDropout(model, log_sigma2=-4.0))


@every_net
def test_every_parameter_learns_and_the_given_net_does_not_change(make: Callable, make_input: Callable) -> None:
    net, x, y = make(), make_input(), torch.randint(3, (30,))
    before, parameters = copy.deepcopy(net.state_dict()), list(net.parameters())
    module = loss_module(net)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    module(x, y).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    optimizer.step()
    assert all(map(torch.equal, net.state_dict().values(), before.values()))
    assert all(now is then for now, then in zip(net.parameters(), parameters, strict=True))


@every_net
def test_plain_network_is_ordinary_and_gives_the_same_output(make: Callable, make_input: Callable) -> None:
    net, x = make().eval(), make_input()
    model = BayesianNetwork(net)
    initial = model.initial_weights
    assert all(torch.equal(weight, net.get_parameter(name)) for name, weight in initial.items())
    assert torch.equal(model.output(initial, x), net(x))
    weights = {name: torch.randn_like(weight) for name, weight in initial.items()}
    plain = model.to_module(weights)
    assert type(plain) is type(net)
    assert plain.state_dict().keys() == net.state_dict().keys()
    assert [name for name, _ in plain.named_parameters() if name in weights] == list(weights)
    assert torch.equal(plain(x), model.output(weights, x))


def test_parameters_without_a_prior_are_logged_by_name(caplog: pytest.LogCaptureFixture) -> None:
    assert BayesianNetwork(conv_net()).weight_names == ["0.weight", "3.weight", "5.weight"]
    assert not caplog.records
    network = nn.ModuleDict({"blocks": nn.ModuleList([nn.PReLU(3), nn.PReLU(3)]), "out": nn.Linear(4, 3)})
    network.register_parameter("position", nn.Parameter(torch.zeros(2, 4)))
    network["norm"] = nn.LayerNorm(5)
    BayesianNetwork(network)
    (record,) = caplog.records
    assert record.getMessage() == (
        "69.2 % of the parameters stay plain, without a prior: normalisation (10), position of ModuleDict (8), "
        "blocks.*.weight of PReLU (6), biases (3); BayesianNetwork(net, include=[...]) gives a prior to more"
    )


@pytest.mark.parametrize("how", ["tied weight", "one module, two names", "applied twice"])
def test_a_weight_used_twice_is_drawn_once_and_learns(how: str) -> None:
    model, x, y = BayesianNetwork(Twice(how)), torch.randn(30, 6), torch.randint(6, (30,))
    guide, elbo = VariationalDropout(model, log_sigma2=-2.0), VariationalDropoutELBO()
    outputs = []
    elbo.differentiable_loss(lambda x, y: outputs.append(model(x, y)), guide, x, y).backward()
    assert torch.equal(outputs[0][:, :3], outputs[0][:, 3:])
    assert all(parameter.grad.any() for parameter in guide.parameters())
    plain = model.to_module(model.initial_weights)
    assert len(list(plain.parameters())) == 1
    assert torch.equal(plain(x), model.output(model.initial_weights, x))


@pytest.mark.parametrize("name", ["mean", "site", "posterior", "theta", "weight", "y"])
def test_a_layer_may_have_any_name(name: str) -> None:
    net = nn.Sequential()
    net.add_module(name, nn.Linear(6, 3))
    assert loss_module(net)(torch.randn(4, 6), torch.randint(3, (4,))).isfinite()


def test_masked_weights_of_a_point_estimate_stay_zero() -> None:
    model, mask = BayesianNetwork(nn.Linear(6, 3)), torch.rand(3, 6) < 0.5
    guide = PointEstimate(model, {"weight": mask})
    optimizer = torch.optim.SGD(guide.parameters(), lr=0.1)
    VariationalDropoutELBO()(model, guide)(torch.randn(20, 6), torch.randint(3, (20,))).backward()
    optimizer.step()
    assert not guide.mean("weight")[~mask].any()
    assert torch.equal(guide()["weight"], guide.mean("weight"))
    assert not torch.equal(guide.mean("weight"), model.initial_weights["weight"] * mask)


def test_labels_are_drawn_where_none_are_given() -> None:
    model = LeNet300()
    assert sum(weight.numel() for weight in model.initial_weights.values()) == 266_200
    guide_trace = poutine.trace(PointEstimate(model)).get_trace()
    trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(torch.rand(4, 1, 28, 28))
    assert trace.nodes["y"]["value"].shape == (4,)
    assert not trace.nodes["y"]["is_observed"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_inputs_without_information_are_pruned_and_no_others(seed: int) -> None:
    pyro.set_rng_seed(seed)
    informative, noise, truth = torch.randn(400, 5), torch.randn(400, 15), 3 * torch.randn(5, 3) + 3 * torch.eye(5, 3)
    y = dist.Categorical(logits=informative @ truth).sample().repeat(2)
    x = torch.cat([torch.cat([informative, sign * noise], 1) for sign in (1, -1)])  # the noise has exactly no information
    model = BayesianNetwork(nn.Linear(20, 3))
    module = VariationalDropoutELBO()(model, guide := VariationalDropout(model, log_sigma2=-5.0))
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=400)
    for _ in range(400):
        optimizer.zero_grad()
        module(x, y).backward()
        optimizer.step()
        schedule.step()
    pruned = (guide.posterior("weight").log_alpha >= 3).all(0)
    assert pruned.tolist() == [False] * 5 + [True] * 15


@pytest.mark.parametrize("has_run", [False, True])
def test_a_network_of_pyro_modules_is_trained(has_run: bool) -> None:
    """Pyro refuses a module of which a part has run: the given network may have run, and ``torch.fx`` runs its copy."""
    net = PyroModule[nn.Sequential](PyroModule[nn.Linear](4, 5), nn.ReLU(), PyroModule[nn.Sequential](nn.Linear(5, 3)))
    x, y = torch.randn(12, 4), torch.arange(12) % 3
    if has_run:
        net(x)
    model = BayesianNetwork(net)
    guide = VariationalDropout(model)
    fit(guide, (x, y), (x, y), epochs=1, batch_size=5, progress=False)
    again = BayesianNetwork(prune(guide))
    fit(PointEstimate(again), (x, y), epochs=1, progress=False)
    assert not has_run or net[0]._pyro_context.used, "the network itself is not changed"
