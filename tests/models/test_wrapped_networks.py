"""Networks that other tools have wrapped: LoRA adapters, ``torch.compile``, parametrizations."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from zoo import specimens

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO, fit, prune

BERT, GPT2 = specimens("Hugging Face BERT", "Hugging Face GPT-2")


def adapted(net: nn.Module, **options: Any) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of the package
        from peft import LoraConfig, get_peft_model

        return get_peft_model(net, LoraConfig(r=2, **options))


def test_the_adapters_are_sites_and_the_frozen_base_is_not() -> None:
    net = adapted(BERT.seeded(), target_modules=["query", "value"], task_type="SEQ_CLS")
    model = BayesianNetwork(net, output="logits")
    learnt = {name for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert set(model.weight_names) == {name for name in learnt if "bias" not in name}
    assert all("lora_" in name or "classifier" in name for name in learnt)
    guide = VariationalDropout(model, log_sigma2=-4.0)
    x, y = BERT.seeded_batch(6)
    torch.manual_seed(0)
    VariationalDropoutELBO(kl_weight=0.0)(model, guide)(x, y).backward()
    assert all(guide.site(name).theta.grad.any() for name in model.weight_names)
    before = {name: parameter.clone() for name, parameter in net.named_parameters() if not parameter.requires_grad}
    fit(guide, (x, y), epochs=1, progress=False)
    pruned = prune(guide)
    assert type(pruned) is type(net)
    assert all(torch.equal(pruned.get_parameter(name), value) for name, value in before.items())


def test_adapters_of_layers_with_transposed_weights() -> None:
    net = adapted(GPT2.seeded(), target_modules=["c_attn"], fan_in_fan_out=True)
    names = BayesianNetwork(net, output="logits").weight_names
    assert len(names) == 4
    assert all("lora_" in name for name in names)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.recurrent, self.head = nn.Embedding(9, 6), nn.GRU(6, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.recurrent(self.embedding(x))[0][:, -1])


def test_a_compiled_network_has_the_sites_of_what_was_compiled() -> None:
    torch.manual_seed(0)
    net = Tokens()
    model = BayesianNetwork(torch.compile(net))
    assert model.weight_names == BayesianNetwork(net).weight_names
    x = torch.randint(9, (4, 3))
    torch.testing.assert_close(model.output(model.initial_weights, x), net(x))


LAYERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "linear": (lambda: nn.Linear(4, 3), "weight"),
    "embedding": (lambda: nn.Embedding(5, 4), "weight"),
    "bag": (lambda: nn.EmbeddingBag(5, 4), "weight"),
    "attention": (lambda: nn.MultiheadAttention(4, 2), "in_proj_weight"),
    "separate attention": (lambda: nn.MultiheadAttention(4, 2, kdim=3), "k_proj_weight"),
    "LSTM": (lambda: nn.LSTM(4, 3), "weight_hh_l0"),
    "GRU cell": (lambda: nn.GRUCell(4, 3), "weight_hh"),
    "bilinear": (lambda: nn.Bilinear(4, 3, 2), "weight"),
}


@pytest.mark.parametrize("change", [parametrizations.weight_norm, parametrizations.spectral_norm, parametrizations.orthogonal])
@pytest.mark.parametrize("layer", LAYERS)
def test_a_parametrized_weight_is_refused_unless_it_is_excluded(layer: str, change: Callable[..., nn.Module]) -> None:
    make, name = LAYERS[layer]
    net = nn.ModuleDict({"layer": change(make(), name), "head": nn.Linear(3, 2)})
    with refuses(f"layer.{name}", ANYTHING, "remove_parametrizations", "exclude=['layer.*']"):
        BayesianNetwork(net)
    assert BayesianNetwork(net, exclude=["layer.*"]).weight_names == ["head.weight"]


def test_an_excluded_parametrized_layer_is_trained() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 5)), nn.ReLU(), nn.Linear(5, 3))
    guide = VariationalDropout(BayesianNetwork(net, exclude=["0.*"]))
    fit(guide, (torch.randn(12, 4), torch.arange(12) % 3), epochs=2, lr=0.1, progress=False)
    pruned = prune(guide)
    for name in ("original0", "original1"):
        place = f"0.parametrizations.weight.{name}"
        assert not torch.equal(pruned.get_parameter(place), net.get_parameter(place))
