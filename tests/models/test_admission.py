"""Networks that cannot be made Bayesian are refused where they are given, with what to do; similar networks are not."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.utils.parametrizations as parametrizations
import torch.nn.utils.prune as torch_prune
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, fit, prune

X, Y = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
RUN = {"epochs": 1, "progress": False}


def around(layer: nn.Module) -> nn.Sequential:
    """A layer of 6 to 5 features inside a network for ``X``, one level down."""
    return nn.Sequential(nn.Sequential(layer), nn.ReLU(), nn.Linear(5, 3))


def quietly(make: Callable[[], nn.Module]) -> nn.Module:
    """Make a network without torch's own warnings about deprecated functions, layers without units and beta features."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


class FullyShardedDataParallel(nn.Module):
    """A wrapper with the name that several libraries use."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module


def computed() -> nn.Module:
    """A layer whose weight is computed by its user."""
    layer = nn.Linear(6, 5)
    layer.direction = nn.Parameter(layer.weight.detach().clone())
    del layer.weight
    layer.weight = layer.direction.detach()
    return layer


PARAMETRIZED = ("0.0.weight", ANYTHING, "remove_parametrizations(module, 'weight')")

REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[object, ...]]] = {
    "lazy": (lambda: around(nn.LazyLinear(5)), ("0.0.weight", ANYTHING, "LazyLinear", "net(x[:2])")),
    "lazy statistics": (
        lambda: around(nn.Sequential(nn.Linear(6, 5), nn.LazyBatchNorm1d(affine=False))),
        ("0.0.1.running_mean", ANYTHING, "net(x[:2])"),
    ),
    "script": (lambda: torch.jit.script(around(nn.Linear(6, 5))), ("net", ANYTHING, "RecursiveScriptModule")),
    "traced part": (lambda: around(torch.jit.trace(nn.Linear(6, 5), X)), ("0.0", ANYTHING, "TopLevelTracedModule")),
    "complex": (lambda: around(nn.Linear(6, 5).to(torch.complex64)), ("0.0.weight", torch.complex64, "Linear", "complex64")),
    "complex bias": (lambda: around(nn.Bilinear(6, 6, 5, dtype=torch.complex128)), ("0.0.weight", torch.complex128)),
    "weight_norm": (
        lambda: around(nn.utils.weight_norm(nn.Linear(6, 5))),
        ("0.0.weight", ANYTHING, "Linear", "remove_weight_norm(module, 'weight')"),
    ),
    "spectral_norm": (
        lambda: around(nn.utils.spectral_norm(nn.Linear(6, 5))),
        ("0.0.weight", ANYTHING, "remove_spectral_norm(module, 'weight')"),
    ),
    "weight_norm of a recurrence": (
        lambda: around(nn.utils.weight_norm(nn.LSTM(6, 5), "weight_hh_l0")),
        ("0.0.weight_hh_l0", ANYTHING, "remove_weight_norm(module, 'weight_hh_l0')"),
    ),
    "prune": (
        lambda: around(torch_prune.l1_unstructured(nn.Linear(6, 5), "weight", 0.5)),
        ("0.0.weight", ANYTHING, "prune.remove(module, 'weight')"),
    ),
    "prune a bias": (
        lambda: around(torch_prune.l1_unstructured(nn.Linear(6, 5), "bias", 0.5)),
        ("0.0.bias", ANYTHING, "prune.remove(module, 'bias')"),
    ),
    "parametrized weight_norm": (lambda: around(parametrizations.weight_norm(nn.Linear(6, 5))), PARAMETRIZED),
    "parametrized spectral_norm": (lambda: around(parametrizations.spectral_norm(nn.Linear(6, 5))), PARAMETRIZED),
    "parametrized orthogonal": (lambda: around(parametrizations.orthogonal(nn.Linear(6, 5))), PARAMETRIZED),
    "computed": (lambda: around(computed()), (*PARAMETRIZED, "(Linear)")),
    "width 0": (lambda: around(nn.Sequential(nn.Linear(6, 0), nn.Linear(0, 5))), ("0.0.0.weight", (0, 6), "Linear")),
    "output of width 0": (lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 0)), ("1.weight", (0, 5), "Linear")),
    "width 0 without a prior": (lambda: around(nn.Embedding(6, 0)), ("0.0.weight", (6, 0), "Embedding")),
    "meta": (lambda: around(nn.Linear(6, 5, device="meta")), ("0.0.weight", torch.device("meta"))),
    "statistics on meta": (
        lambda: around(nn.BatchNorm1d(6, affine=False, device="meta")),
        ("0.0.running_mean", torch.device("meta"), "BatchNorm1d"),
    ),
    "sparse": (lambda: around(sparse()), ("0.0.weight", torch.sparse_csr, "to_dense()")),
    "DataParallel": (lambda: nn.DataParallel(around(nn.Linear(6, 5))), ("net", ANYTHING, "DataParallel", "net.module")),
    "part in DataParallel": (lambda: around(nn.DataParallel(nn.Linear(6, 5))), ("0.0", ANYTHING, "DataParallel")),
    "wrapper of another library": (
        lambda: FullyShardedDataParallel(nn.Linear(6, 3)),
        ("net", ANYTHING, "FullyShardedDataParallel"),
    ),
}
"""Networks, each with what the error must be about: the arguments of ``refuses``."""


def sparse() -> nn.Module:
    layer = nn.Linear(6, 5)
    layer.weight = nn.Parameter(layer.weight.detach().to_sparse_csr())
    return layer


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    make, about = REFUSED[name]
    net = quietly(make)
    with refuses(*about):
        BayesianNetwork(net)


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm", "prune", "prune a bias"])
def test_refused_after_it_has_run(name: str, gradients: bool) -> None:
    make, about = REFUSED[name]
    net = quietly(make)
    with torch.set_grad_enabled(gradients):
        net(X)
    with refuses(*about):
        BayesianNetwork(net)


def permanent() -> nn.Module:
    layer = quietly(lambda: nn.utils.weight_norm(nn.Linear(6, 5)))
    nn.utils.remove_weight_norm(layer)
    return layer


def lazy() -> nn.Module:
    layer = nn.LazyLinear(5)
    layer(X)
    return layer


class Spectrum(nn.Module):
    """A layer with complex numbers that are not learnt, and an empty parameter, which some networks use to find the device."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filter", torch.randn(4, dtype=torch.complex64))
        self.nothing = nn.Parameter(torch.empty(0))
        self.fixed = nn.Parameter(torch.ones(4, dtype=torch.complex64), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.irfft(torch.fft.rfft(x) * self.filter * self.fixed, 6)[:, :5]


ADMITTED: dict[str, Callable[[], nn.Module]] = {
    "made permanent": permanent,
    "lazy, after the first batch": lazy,
    "parametrization made permanent": lambda: nn.utils.parametrize.remove_parametrizations(
        parametrizations.weight_norm(nn.Linear(6, 5)), "weight"
    ),
    "frozen parametrization": lambda: parametrizations.weight_norm(nn.Linear(6, 5)).requires_grad_(False),
    "parametrization of what has no prior": lambda: nn.Sequential(
        nn.Linear(6, 5), nn.utils.parametrize.register_parametrization(nn.PReLU(5), "weight", nn.Softplus())
    ),
    "complex numbers that are not learnt": Spectrum,
}


@pytest.mark.parametrize("name", ADMITTED)
def test_admitted(name: str) -> None:
    layer = ADMITTED[name]()
    net = nn.Sequential(layer, nn.ReLU(), nn.Linear(5, 3))
    model = BayesianNetwork(net)
    guide = VariationalDropout(model)
    torch.testing.assert_close(model.output(model.initial_weights, X), net(X))
    fit(guide, (X, Y), **RUN)
    assert prune(guide)(X).isfinite().all()
