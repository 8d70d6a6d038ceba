"""Networks that others wrote, pruned at random: compact, the same function, nothing left that could go; plans are saved."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from compaction import Row, measure, varied
from torch import Tensor, nn
from zeroed import zero_at_random
from zoo import ZOO, EncoderClassifier, RecurrentClassifier, Specimen, specimens

from pyro_vd.compaction import ShrinkPlan, apply_plan, compact, shrink_plan
from pyro_vd.networks.attention import Attention

pytestmark = pytest.mark.slow

SHUFFLED = {"torchvision shufflenet_v2_x0_5": 0.07}
"""The shuffles need 120 of the 1,695 units that are left for their numbers; no choice of numbers needs fewer."""


LARGE = ("densenet121", "convnext_tiny", "vgg11_bn", "efficientnet_b0")
CASES = [
    pytest.param(specimen, id=specimen.name, marks=[pytest.mark.long] if specimen.name.endswith(LARGE) else [])
    for specimen in ZOO
]


@pytest.mark.parametrize("specimen", CASES)
def test_the_same_function_and_nothing_left_that_could_go(specimen: Specimen) -> None:
    found: Row = measure(specimen)
    assert found.left < 0.85
    assert found.removable <= SHUFFLED.get(specimen.name, 0.02)
    assert found.difference <= 1e-5
    assert found.difference_64 <= 1e-10


@pytest.mark.parametrize("name", ["Hugging Face BERT", "Hugging Face GPT-2", "nn.TransformerEncoder classifier"])
def test_a_plan_with_numbers_of_modules_and_attentions_is_saved_and_applied(name: str) -> None:
    (specimen,) = specimens(name)
    net, (x, _) = zero_at_random(varied(specimen.seeded())).eval(), specimen.seeded_batch(3)
    plan = shrink_plan(net, x)
    assert plan.attributes or plan.attentions
    saved = ShrinkPlan.from_json(json.loads(json.dumps(plan.to_json())))
    assert saved == plan
    found, wanted = apply_plan(net, saved).state_dict(), compact(net, x).state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_a_removed_head_and_other_lengths() -> None:
    net = varied(EncoderClassifier()).double().eval()
    with torch.no_grad():
        attention: Any = net.encoder.layers[0].self_attn  # type: ignore[union-attr]
        for part in range(3):
            attention.in_proj_weight[24 * part : 24 * part + 6] = attention.in_proj_bias[24 * part : 24 * part + 6] = 0
        attention.in_proj_weight[[6, 12, 18]] = attention.in_proj_bias[[6, 12, 18]] = 0
    small: Any = compact(net, torch.randn(2, 6, 8).double())
    made = small.encoder.layers[0].self_attn
    assert isinstance(made, Attention)
    assert (made.num_heads, made.head_dim, made.value_dim) == (3, 5, 6)
    assert type(small.encoder.layers[1].self_attn) is nn.MultiheadAttention
    for shape in ((3, 9, 8), (1, 1, 8)):
        x = torch.randn(shape).double()
        torch.testing.assert_close(small(x), net(x))


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_is_called_as_that_of_pytorch_is(batch_first: bool) -> None:
    torch.manual_seed(0)
    whole = nn.MultiheadAttention(8, 2, batch_first=batch_first).double().eval()
    made = Attention(whole, 2, 4, 4)
    query, key = torch.randn(3, 5, 8).double(), torch.randn(3, 6, 8).double()
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[1, 4:] = True
    mask: Tensor = torch.randn(5, 6).double()

    def given(x: Tensor) -> Tensor:
        return x if batch_first else x.transpose(0, 1)

    for options in ({}, {"need_weights": False}, {"average_attn_weights": False}):
        for masks in (
            {},
            {"key_padding_mask": padding},
            {"attn_mask": mask > 1},
            {"attn_mask": mask, "key_padding_mask": padding},
        ):
            arguments = (given(query), given(key), given(key))
            if len(masks) == 2:
                masks = {"attn_mask": mask > 1, "key_padding_mask": padding}
            for one, other in zip(made(*arguments, **options, **masks), whole(*arguments, **options, **masks), strict=True):
                torch.testing.assert_close(one, other)
    torch.testing.assert_close(made(query[0], key[0], key[0])[0], whole(query[0], key[0], key[0])[0])


def test_layers_of_a_recurrent_network_stay_equally_wide() -> None:
    net = RecurrentClassifier(nn.LSTM).double().eval()
    with torch.no_grad():
        for layer, silent in (("l0", [0, 5, 7]), ("l1", [2, 3])):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(net.recurrent, f"{kind}_{layer}").unflatten(0, (4, 20))[:, silent] = 0
    small: Any = compact(net, torch.randint(40, (2, 8)))
    assert small.recurrent.hidden_size == 18
    tokens = torch.randint(40, (3, 11))
    torch.testing.assert_close(small(tokens), net(tokens))


def test_several_inputs_by_name_and_outputs_of_a_mapping() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(3, 5), nn.Linear(5, 2)

        def forward(self, *, left: Tensor, right: Tensor) -> dict[str, Tensor]:
            h = self.a(left).relu() + self.b(right)
            return {"logits": self.c(h), "sum": h.sum(1)}

    net, x = Two().double(), {"left": torch.randn(2, 4).double(), "right": torch.randn(2, 3).double()}
    with torch.no_grad():
        net.a.weight[1] = net.b.weight[1] = 0
    small, wanted = compact(net, x)(**x), net(**x)
    for key in wanted:
        torch.testing.assert_close(small[key], wanted[key])
