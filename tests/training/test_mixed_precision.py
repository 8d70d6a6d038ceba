"""``precision="bf16-mixed"`` lowers the network's forward pass and nothing else; activation checkpointing changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from support import EachStep, refuses
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pyro_vd import BayesianNetwork, GroupVariationalDropout, KLWeight, VariationalDropout, fit, networks
from pyro_vd.data.loading import load_data
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.guides import BernoulliDropout, PointEstimate, WeightGuide
from pyro_vd.models import Normal
from pyro_vd.testing.interrupting import Interrupt
from pyro_vd.training import TrainingState

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, :3] + 0.3 * torch.randn(40, 3, generator=torch.Generator().manual_seed(1))).argmax(1)
OPTIONS: dict[str, Any] = {"epochs": 3, "batch_size": 10, "lr": 0.01, "progress": False}
GUIDES: dict[str, tuple[Callable[[BayesianNetwork], WeightGuide], dict[str, Any]]] = {
    "variational": (partial(VariationalDropout, log_sigma2=-6.0), {}),
    "group": (GroupVariationalDropout, {"prior": NormalJeffreys}),
    "bernoulli": (partial(BernoulliDropout, p=0.2), {}),
    "point": (PointEstimate, {}),
}


SEEN: dict[str, set[torch.dtype]] = {"inside": set(), "outputs": set()}
"""Types in training; not in the modules, which are copied."""


class Watched(nn.Module):
    """Notes the types of what passes through it."""

    def forward(self, x: Tensor) -> Tensor:
        SEEN["inside"].add(x.dtype)
        return x


def seen(output: Tensor) -> dist.Categorical:
    """A likelihood that notes the types of the outputs that it takes."""
    SEEN["outputs"].add(output.dtype)
    return dist.Categorical(logits=output)


@pytest.mark.parametrize("case", GUIDES)
def test_only_the_forward_pass_is_lowered(case: str) -> None:
    make, options = GUIDES[case]
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), Watched(), nn.Linear(8, 3))
    guide = make(BayesianNetwork(net, seen, **options))
    parameters = [*guide.parameters(), *guide.model.parameters()]
    before = [parameter.detach().clone() for parameter in parameters]
    kinds: set[torch.dtype] = set()

    def look(state: TrainingState) -> None:
        during.append({name: set(types) for name, types in SEEN.items()})
        SEEN.update(inside=set(), outputs=set())
        kinds.update(p.grad.dtype for p in parameters if p.grad is not None)
        kinds.update({state.elbo.kl.dtype, state.elbo.data_term.dtype, *(kl.dtype for kl in state.elbo.site_kl.values())})

    during: list[dict[str, set[torch.dtype]]] = []
    result = fit(guide, (X, Y), **OPTIONS, precision="bf16-mixed", callbacks=[EachStep(look)])
    assert during[1] == during[2] == {"inside": {torch.bfloat16}, "outputs": {torch.float32}}
    assert kinds == {torch.float32}
    assert {parameter.dtype for parameter in parameters} == {torch.float32}
    assert all(not torch.equal(one, other) for one, other in zip(before, parameters, strict=True))
    assert result.skipped == 0
    assert guide.model.forward_dtype is None, "it is as before"


def train(guide: Callable[[BayesianNetwork], WeightGuide], net: nn.Module, **options: Any) -> tuple[WeightGuide, list[float]]:
    torch.manual_seed(1)
    model = BayesianNetwork(net)
    trained = guide(model)
    return trained, [record.loss for record in fit(trained, (X, Y), **{**OPTIONS, **options}).history]


def mlp() -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


@pytest.mark.parametrize("case", ["variational", "point"])
def test_the_loss_is_that_of_full_precision_to_eight_bits(case: str) -> None:
    """Of the same noise: a rounding of 2⁻⁸ in each activation, and in each gradient."""
    guide, _ = GUIDES[case]
    full, mixed = (train(guide, mlp(), precision=precision)[1] for precision in ("full", "bf16-mixed"))
    assert full != mixed
    assert mixed == pytest.approx(full, rel=2**-6)


def test_the_noise_is_float32() -> None:
    """What bfloat16 would round to one of 256 values in an octave takes many more."""
    from pyro_vd.inference.gaussian_weight import GaussianWeight
    from pyro_vd.networks.layer_registry import linear_call

    weight = GaussianWeight(torch.zeros(1, 1), torch.ones(1, 1))
    drawn: list[Tensor] = []
    original = torch.randn_like

    def noted(*arguments: Any, **options: Any) -> Tensor:
        drawn.append(original(*arguments, **options))
        return drawn[-1]

    with pytest.MonkeyPatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr(torch, "randn_like", noted)
        assert linear_call(nn.functional.linear, (torch.ones(5, 1), weight), {}) is not None
        output = nn.functional.linear(torch.ones(5, 1), weight)
    assert output.dtype == torch.bfloat16
    assert [noise.dtype for noise in drawn] == [torch.float32]


def test_the_deviation_of_outputs_is_right_to_eight_bits() -> None:
    """Also where σ² would be 0 in half precision."""
    from pyro_vd.inference.gaussian_weight import GaussianWeight

    generator = torch.Generator().manual_seed(0)
    x, variance = torch.rand(30, 50, generator=generator), torch.empty(20, 50).uniform_(-30, -25, generator=generator).exp()
    outputs = []
    for mixed in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            outputs.append(nn.functional.linear(x, GaussianWeight(torch.zeros(20, 50), variance)).float())
    assert (outputs[1] / outputs[0] - 1).abs().max() < 2**-8 + 2**-9, "of the deviation and of the output"


@pytest.mark.slow
def test_results_are_those_of_full_precision() -> None:
    """On digits, over three seeds: mean error and mean compression, to three standard errors."""
    train, validation = load_data("digits", None).split(300)
    found: dict[str, list[list[float]]] = {}
    for precision in ("full", "bf16-mixed"):
        for seed in range(3):
            torch.manual_seed(seed)
            guide = VariationalDropout(BayesianNetwork(networks.mlp((64, 100, 10))), log_sigma2=-8.0)
            options: Any = {"epochs": 20, "batch_size": 50, "lr": 0.01, "kl_weight": KLWeight(0.3, end=8), "progress": False}
            record = fit(guide, train, validation, precision=precision, **options).history[-1]
            found.setdefault(precision, []).append([record.score, record.compression])
    (full, spread), (mixed, other) = ((tensor.mean(0), tensor.std(0)) for tensor in map(torch.tensor, found.values()))
    error = ((spread.square() + other.square()) / 3).sqrt()
    assert ((mixed - full).abs() < 3 * error).all()


def test_resumed_bit_for_bit_and_told_apart(tmp_path: Path) -> None:
    guide = GUIDES["variational"][0]
    files: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "resume": True}
    whole, _ = train(guide, mlp(), precision="bf16-mixed")
    with pytest.raises(KeyboardInterrupt):
        train(guide, mlp(), precision="bf16-mixed", callbacks=[Interrupt(2)], **files)
    resumed, _ = train(guide, mlp(), precision="bf16-mixed", **files)
    assert all(torch.equal(one, other) for one, other in zip(whole.parameters(), resumed.parameters(), strict=True))
    with refuses(str(tmp_path / "c.pt"), {"precision": "bf16-mixed"}):
        train(guide, mlp(), **files)


def test_other_types_are_refused() -> None:
    for model in (BayesianNetwork(mlp().double()), BayesianNetwork(mlp(), Normal().double())):
        with refuses("precision", "bf16-mixed", "float64"):
            fit(PointEstimate(model), (X.to(next(model.buffers(), X).dtype), Y), **OPTIONS, precision="bf16-mixed")


class Recomputed(nn.Module):
    """Blocks whose activations may be computed again in the backward pass."""

    def __init__(self, again: bool | None, dropout: float) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.again = again
        self.first = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Dropout(dropout), nn.Linear(16, 16))
        self.last = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        if self.again is None:
            return self.last(self.first(x).relu())
        x = x.clone().requires_grad_()  # what reentrant checkpointing asks for
        return self.last(checkpoint(self.first, x, use_reentrant=self.again).relu())


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # of reentrant checkpointing without gradients
@pytest.mark.parametrize("precision", ["full", "bf16-mixed"])
@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("case", ["variational", "bernoulli", "point"])
def test_activation_checkpointing_trains_alike(case: str, reentrant: bool, precision: str) -> None:
    guide, _ = GUIDES[case]
    dropout = 0.0 if case == "bernoulli" else 0.2  # its noise may be drawn before the pass, and dropout then gets other numbers
    plain, of_plain = train(guide, Recomputed(None, dropout), precision=precision)
    again, of_again = train(guide, Recomputed(reentrant, dropout), precision=precision)
    assert of_again == pytest.approx(of_plain, rel=1e-5)
    for (name, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5, msg=name)
