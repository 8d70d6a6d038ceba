"""Networks of token ids: uses of their weights are found, every site learns, and training and prediction agree."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, predict, prune
from pyro_vd.inference.output_noise import OutputNoise

TOKENS, LENGTH = 10, 4
X = torch.randint(1, TOKENS, (8, LENGTH), generator=torch.Generator().manual_seed(0))
X[:3, -1] = 0  # padding
Y = torch.arange(8) % 3


class Recurrent(nn.Module):
    """Tokens, an embedding, and the last output of a recurrent layer, of a packed one, or of a cell in a loop."""

    def __init__(self, layer: type[Any], how: str = "layer") -> None:
        super().__init__()
        self.how, self.embedding, self.head = how, nn.Embedding(TOKENS, 6, padding_idx=0), nn.Linear(5, 3)
        self.recurrent = layer(6, 5) if how == "cell" else layer(6, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h, state = self.embedding(x), None
        if self.how == "cell":
            for step in h.unbind(1):
                state = self.recurrent(step, state)
            return self.head(state[0] if isinstance(state, tuple) else state)
        if self.how == "packed":
            h = pack_padded_sequence(h, (x > 0).sum(1), batch_first=True, enforce_sorted=False)
        _, state = self.recurrent(h)
        return self.head((state[0] if isinstance(state, tuple) else state)[-1])


class Encoder(nn.Module):
    def __init__(self, recomputed: bool | None = None) -> None:
        super().__init__()
        self.recomputed, self.embedding, self.head = recomputed, nn.Embedding(TOKENS, 6), nn.Linear(6, 3)
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        self.other = nn.MultiheadAttention(6, 2, batch_first=True)

    def inner(self, h: Tensor) -> Tensor:
        found = self.layer(h)
        return self.other(h, found, found)[0]

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x)
        h = self.inner(h) if self.recomputed is None else checkpoint(self.inner, h, use_reentrant=self.recomputed)
        return self.head(h.mean(1))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(TOKENS, 6), nn.Linear(6, TOKENS, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x).mean(1))


NETS: dict[str, tuple[Callable[[], nn.Module], set[str]]] = {
    "LSTM": (lambda: Recurrent(nn.LSTM), {"recurrent.weight_ih_l0", "recurrent.weight_hh_l0"}),
    "GRU, packed": (lambda: Recurrent(nn.GRU, "packed"), {"recurrent.weight_ih_l0", "recurrent.weight_hh_l0"}),
    "RNN": (lambda: Recurrent(nn.RNN), {"recurrent.weight_ih_l0", "recurrent.weight_hh_l0"}),
    "LSTM cell": (lambda: Recurrent(nn.LSTMCell, "cell"), {"recurrent.weight_ih", "recurrent.weight_hh"}),
    "GRU cell": (lambda: Recurrent(nn.GRUCell, "cell"), {"recurrent.weight_ih", "recurrent.weight_hh"}),
    "attention": (Encoder, set()),
    "tied": (Tied, {"embedding.weight"}),
}
"""Networks, and the sites that are used more than once or not as a linear map, which are drawn once per pass."""


def gradients(guide: VariationalDropout, noise: OutputNoise = "position", seed: int = 0) -> dict[str, Tensor]:
    """Gradients of the data term by parameter."""
    guide.zero_grad()
    torch.manual_seed(seed)
    VariationalDropoutELBO(kl_weight=0.0, noise=noise)(guide.model, guide)(X, Y).backward()
    return {name: parameter.grad for name, parameter in guide.named_parameters()}


@pytest.mark.parametrize("noise", ["position", "example"])
@pytest.mark.parametrize("name", NETS)
def test_every_site_learns_and_the_network_predicts(name: str, noise: OutputNoise) -> None:
    torch.manual_seed(0)
    make, once = NETS[name]
    net = make()
    model = BayesianNetwork(net)
    guide = VariationalDropout(model, log_sigma2=-4.0)
    for parameter, gradient in gradients(guide, noise).items():
        assert gradient.isfinite().all()
        assert gradient.any(), parameter
    usage = model._usage.of_mode(True)
    assert usage is not None
    assert usage.to_draw(model.weight_names) | model.shared == once
    predicted = predict(guide, X, num_samples=4)
    assert predicted.log_p.isfinite().all()
    torch.testing.assert_close(prune(guide, 1e9)(X), net.eval()(X), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reentrant", [True, False])
def test_attention_that_is_recomputed_draws_the_same(reentrant: bool) -> None:
    torch.manual_seed(0)
    net = Encoder()
    again = copy.deepcopy(net)
    again.recomputed = reentrant
    plain, recomputed = (gradients(VariationalDropout(BayesianNetwork(each), log_sigma2=-4.0)) for each in (net, again))
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, msg=name)


def test_autocast_keeps_small_variances() -> None:
    """σ² = e⁻³⁰ and its gradient survive bfloat16."""
    torch.manual_seed(0)
    guide = VariationalDropout(BayesianNetwork(Encoder()), log_sigma2=-30.0)
    wanted = gradients(guide)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = gradients(guide)
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32
        assert 0.3 < gradient.norm() / wanted[name].norm() < 3, name  # other random numbers


def test_the_row_of_padding_has_no_gradient_of_the_data() -> None:
    torch.manual_seed(0)
    found = gradients(VariationalDropout(BayesianNetwork(Recurrent(nn.LSTM)), log_sigma2=-4.0))
    for name in ("theta", "log_sigma2"):
        gradient = found[f"sites.embedding.weight.{name}"]
        assert not gradient[0].any()
        used = torch.zeros(TOKENS, dtype=torch.bool).index_fill(0, X.unique(), True)
        assert torch.equal(gradient.any(1)[1:], used[1:])


def test_means_held_at_zero_are_zero_in_look_ups() -> None:
    torch.manual_seed(0)
    guide = VariationalDropout(BayesianNetwork(Encoder()), log_sigma2=-4.0)
    guide.train_threshold = -100.0
    for name, gradient in gradients(guide).items():
        assert bool(gradient.any()) == name.endswith("log_sigma2"), name


class Depends(nn.Module):
    """Applies a layer once more if a batch has a token of a large id, and reads the weight for one of the largest id."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer, self.head = nn.Embedding(TOKENS, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(self.embedding(x).mean(1))
        if x.max() > 7:
            h = self.layer(h.relu())
        if x.max() > 8:
            h = h * self.embedding.weight.mean()
        return self.head(h)


def test_a_use_that_only_a_later_batch_makes_is_found() -> None:
    torch.manual_seed(0)
    model = BayesianNetwork(Depends())
    guide = VariationalDropout(model, log_sigma2=-4.0)
    loss = VariationalDropoutELBO()(model, guide)
    drawn: list[frozenset[str]] = []
    for most in (5, 8, 9, 5):
        x = X.clamp(max=most)
        x[0, 0] = most
        loss(x, Y).backward()
        usage = model._usage.of_mode(True)
        assert usage is not None
        drawn.append(usage.to_draw(model.weight_names))
    both = frozenset({"layer.weight", "embedding.weight"})
    assert drawn == [frozenset(), frozenset({"layer.weight"}), both, both]
    assert all(parameter.grad.any() for parameter in guide.parameters())


@pytest.mark.parametrize("options", [{"max_norm": 1.0}, {"sparse": True}])
def test_options_of_an_embedding_are_refused_unless_it_has_no_prior(options: dict[str, Any]) -> None:
    net = nn.Sequential(nn.Embedding(TOKENS, 6, **options), nn.Linear(6, 3))
    with refuses("0", ANYTHING, next(iter(options))):
        BayesianNetwork(net)
    assert BayesianNetwork(net, exclude=["0.*"]).weight_names == ["1.weight"]
