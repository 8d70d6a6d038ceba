"""``fine_tune`` works in place as ``fit`` does: what may change changes, when all has gone well, and nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from support import refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, compact, fine_tune, fit, prune
from pyro_vd.models import Normal
from pyro_vd.testing.interrupting import Interrupt
from pyro_vd.training import FitResult

X, Y = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
OPTIONS: dict[str, Any] = {"epochs": 3, "batch_size": 20, "lr": 0.02, "progress": False}


def sparse(net: nn.Module) -> nn.Module:
    """Half of the weights of its layers are zero."""
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter *= torch.rand_like(parameter) < 0.5
    return net


def images() -> Tensor:
    return torch.randn(60, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def tied() -> nn.Module:
    layer = nn.Linear(5, 5)
    return nn.Sequential(nn.Linear(6, 5), layer, nn.ReLU(), layer, nn.Linear(5, 3))


def frozen() -> nn.Module:
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4), nn.Linear(4, 3))
    net[0].requires_grad_(False)
    net[3].bias.requires_grad_(False)
    return net


class Counting(nn.Module):
    """Two buffers that a forward pass changes, one of them not in the state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("saved", torch.zeros(()))
        self.register_buffer("unsaved", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.saved += 1
            self.unsaved += 1
        return x


NETS = {
    "plain": lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)),
    "tied": tied,
    "frozen": frozen,
    "buffers": lambda: nn.Sequential(Counting(), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)),
    "double": lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).double(),
    "convolution": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)),
}


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("kind", NETS)
def test_in_place(kind: str, mode: bool) -> None:
    net = sparse(NETS[kind]()).train(mode)
    x = images() if kind == "convolution" else X.to(next(net.parameters()).dtype)
    tensors = dict(net.named_parameters(remove_duplicate=False)) | dict(net.named_buffers())
    before = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    result = fine_tune(net, (x, Y), (x, Y), **OPTIONS)
    assert isinstance(result, FitResult)
    assert [record.epoch for record in result.history] == [1, 2, 3]
    after = dict(net.named_parameters(remove_duplicate=False)) | dict(net.named_buffers())
    assert all(after[name] is tensor for name, tensor in tensors.items()), "the very same tensors"
    assert all(module.training is mode for module in net.modules())
    for name, tensor in after.items():
        if isinstance(tensor, nn.Parameter) or mode:  # a network that came in evaluation mode may keep its statistics
            learnt = not isinstance(tensor, nn.Parameter) or tensor.requires_grad
            assert torch.equal(tensor, before[name]) is not learnt, name
        if tensor.ndim > 1:
            assert torch.equal(tensor == 0, before[name] == 0), name
    optimizer = torch.optim.SGD(net.parameters(), 0.1)  # it can be trained on by hand
    nn.functional.cross_entropy(net(x), Y).backward()
    optimizer.step()


def test_the_values_are_those_of_fit_on_a_masked_guide() -> None:
    from pyro_vd import posterior_mean
    from pyro_vd.guides import PointEstimate

    net = sparse(NETS["plain"]())
    model = BayesianNetwork(net)
    guide = PointEstimate(model, {name: weight != 0 for name, weight in model.initial_weights.items()})
    torch.manual_seed(1)
    fit(guide, (X, Y), **OPTIONS)
    torch.manual_seed(1)
    fine_tune(net, (X, Y), **OPTIONS)
    assert torch.equal(net(X), posterior_mean(guide)(X))


def test_a_compact_network() -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        net[0].weight[:, [1, 4]] = 0
        net[0].weight[3] = net[0].bias[3] = 0
    small = compact(net)
    before = copy.deepcopy(small)
    fine_tune(small, (X, Y), **OPTIONS)
    assert all(torch.equal(a, b) for a, b in zip(small.buffers(), before.buffers(), strict=True)), "which inputs are read"
    assert len(list(small.buffers())) == 1
    assert not torch.equal(small(X), before(X))
    assert [tuple(p.shape) for p in small.parameters()] == [tuple(p.shape) for p in before.parameters()]


def test_an_interrupted_one_changes_nothing(tmp_path: Path) -> None:
    net = sparse(NETS["buffers"]())
    before = copy.deepcopy(net.state_dict())
    checkpoint = {"checkpoint": tmp_path / "c.pt", "resume": True}
    with pytest.raises(KeyboardInterrupt):
        fine_tune(net, (X, Y), **OPTIONS, **checkpoint, callbacks=[Interrupt(1)])
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    whole = copy.deepcopy(net)
    torch.manual_seed(1)
    fine_tune(net, (X, Y), **OPTIONS, **checkpoint)
    assert not torch.equal(net(X), whole(X))


def test_numbers_and_what_is_refused() -> None:
    net = sparse(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1)))
    result = fine_tune(net, (X, X[:, 0]), likelihood=Normal(), **OPTIONS)
    assert result.history[-1].loss < result.history[0].loss
    with refuses("train_threshold", 3.0, "PointEstimate"):
        fine_tune(net, (X, X[:, 0]), likelihood=Normal(), train_threshold=3.0, **OPTIONS)


@pytest.mark.gpu
def test_a_network_stays_on_its_device() -> None:
    for home, away in (("cpu", "cuda"), ("cuda", "cpu"), ("cuda", None)):
        net = sparse(NETS["buffers"]()).to(home)
        before = net[1].weight.clone()
        fine_tune(net, (X, Y), **OPTIONS, device=away)
        assert next(net.parameters()).device.type == home
        assert not torch.equal(net[1].weight, before)


def test_after_pruning() -> None:
    model = BayesianNetwork(NETS["frozen"]())
    guide = VariationalDropout(model, -4.0)
    fit(guide, (X, Y), **OPTIONS)
    small = prune(guide, 2.0)
    fine_tune(small, (X, Y), **OPTIONS)
    assert not any(module.training for module in small.modules())


def test_further_parameters_and_layers_without_a_prior_are_as_in_the_training() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(6, 8)), nn.ReLU(), nn.Linear(8, 3))
    sites: dict[str, Any] = {"include": ["2.bias"], "exclude": ["0.*"]}
    guide = VariationalDropout(BayesianNetwork(net, **sites))
    with torch.no_grad():
        guide.site("2.bias").log_sigma2[:2] = 20.0
    pruned = prune(guide)
    removed = {name: parameter == 0 for name, parameter in pruned.named_parameters() if name in guide.site_names}
    assert removed["2.bias"].tolist() == [True, True, False]
    before = copy.deepcopy(pruned)
    fine_tune(pruned, (X, Y), **sites, **OPTIONS)
    for name, mask in removed.items():
        assert torch.equal(pruned.get_parameter(name) == 0, mask), name
    assert not torch.equal(pruned[0].weight, before[0].weight)
