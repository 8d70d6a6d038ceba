"""Attention in all forms: the same function, units and heads really gone, nothing left to do, and files that hold it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from attention_networks import (
    FORMS,
    WIDTH,
    Attention,
    Block,
    Cross,
    Grouped,
    OfTheInput,
    SquareHeads,
    TwoOfOneQuery,
    silence,
    with_biases,
)
from compaction import Row, measure
from torch import Tensor, nn
from zeroed import zero_at_random
from zoo import specimens

from pyro_vd import load_pruned, save_pruned
from pyro_vd.compaction import ShrinkPlan, apply_plan, compact, shrink_plan
from pyro_vd.networks.attention import Attention as OwnAttention
from pyro_vd.networks.inputs import run, tensors_in


def checked(net: nn.Module, *batches: Any) -> Any:
    """The compact network: the same function for all batches, from its saved plan too, and with nothing left to remove."""
    plan = shrink_plan(net, batches[0])
    small = apply_plan(net, ShrinkPlan.from_json(json.loads(json.dumps(plan.to_json()))))
    assert len(plan.tensors) > 0
    assert small.state_dict().keys() == compact(net, batches[0]).state_dict().keys()
    with torch.no_grad():
        for batch in batches:
            for one, other in zip(tensors_in(run(small, batch)), tensors_in(run(net, batch)), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    again = compact(small, batches[0]).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in small.state_dict().items())
    return small


def sequences(*sizes: tuple[int, int], width: int = WIDTH) -> list[Tensor]:
    return [torch.randn(n, length, width).double() for n, length in sizes]


def file_gives_back(small: nn.Module, whole: nn.Module, x: Any, folder: Path) -> None:
    save_pruned(small, folder / "net")
    again = load_pruned(folder / "net", whole)
    for one, other in zip(tensors_in(run(again, x)), tensors_in(run(small, x)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_attention_written_by_hand(form: str, causal: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    attention = Attention(form, causal)
    net = with_biases(Block(attention))
    silence(attention.v.weight, attention.v.bias, 4, 5, 6, 7)
    for first in (0, 8):
        silence(attention.q.weight, attention.q.bias, first)
        silence(attention.k.weight, None, first + 1)  # the same for all positions, so that a softmax cancels it
        silence(attention.v.weight, attention.v.bias, first + 2, first + 3)
    silence(net.up.weight, None, 1, 5, 7)  # type: ignore[union-attr, arg-type]
    small = checked(net, *sequences((2, 5), (1, 1), (4, 9)))
    width = 3 if form == "capped" else 2
    found = small.attention
    assert (found.num_heads, found.head_dim) == (2, width)
    assert [len(layer.weight) for layer in (found.q, found.k, found.v, small.up)] == [2 * width] * 3 + [13]
    if form == "a bias for each head":
        assert found.by_head.shape == (2, 1, 1)
    file_gives_back(small, net, sequences((3, 4))[0], tmp_path)


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize("form", ["one operation", "repeated", "expanded", "grouped"])
def test_heads_that_share_keys_and_values_go_together(form: str, gone: bool) -> None:
    torch.manual_seed(0)
    net = with_biases(Grouped(form))
    for first in (0, 5):
        silence(net.k.weight, None, first + 1)  # type: ignore[union-attr, arg-type]
        silence(net.v.weight, net.v.bias, first + 2)  # type: ignore[union-attr, arg-type]
    if gone:
        silence(net.v.weight, net.v.bias, *range(5))  # type: ignore[union-attr, arg-type]
    small = checked(net, *sequences((2, 5), (1, 1), (3, 7)))
    assert (small.heads, small.groups, small.width) == ((2, 1, 4) if gone else (4, 2, 4))
    assert [len(layer.weight) for layer in (small.q, small.k, small.v)] == [4 * small.heads, *[4 * small.groups] * 2]


OPTIONS: dict[str, dict[str, Any]] = {
    "with weights": {},
    "without weights": {"need": False},
    "batch first": {"batch_first": True},
    "masked": {"mask": True},
    "masked, without weights": {"mask": True, "need": False, "batch_first": True},
    "other widths of key and value": {"kdim": 7, "vdim": 8},
    "without biases": {"bias": False},
    "an added key and value": {"add_bias_kv": True, "mask": True},
    "an added key and value, without weights": {"add_bias_kv": True, "mask": True, "need": False},
    "an added zero": {"add_zero_attn": True, "mask": True, "batch_first": True},
    "all that is added": {"add_bias_kv": True, "add_zero_attn": True, "mask": True, "need": False},
}


def cross(**options: Any) -> Cross:
    """A network of which one head has no values, and a query, a key and a value of each other head do nothing."""
    torch.manual_seed(0)
    net = Cross(**options)
    with_biases(net)
    own = net.attention
    apart = (own.q_proj_weight, own.k_proj_weight, own.v_proj_weight)
    q, k, v = apart if own.in_proj_weight is None else own.in_proj_weight.chunk(3)
    biases = [None] * 3 if own.in_proj_bias is None else own.in_proj_bias.chunk(3)
    silence(v, biases[2], 4, 5, 6, 7, 3, 11)
    silence(q, biases[0], 0, 8)
    silence(k, None, 1, 9)
    if own.bias_v is not None:
        silence(own.bias_v.movedim(-1, 0), None, 4, 5, 6, 7, 3, 11)
    return net


def pairs(*sizes: tuple[int, int, int]) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(n, queries, 6).double(), torch.randn(n, keys, 5).double()) for n, queries, keys in sizes]


@pytest.mark.parametrize("name", OPTIONS)
def test_attention_of_pytorch(name: str, tmp_path: Path) -> None:
    net = cross(**OPTIONS[name])
    small = checked(net, *pairs((2, 5, 4), (1, 1, 3), (4, 7, 2)))
    made = small.attention
    assert isinstance(made, OwnAttention)
    one_more = OPTIONS[name].keys() & {"add_bias_kv", "add_zero_attn"}  # the key of the added position is another one
    assert (made.num_heads, made.head_dim, made.value_dim) == (2, 3 if one_more else 2, 3)
    file_gives_back(small, net, pairs((3, 2, 4))[0], tmp_path)


@pytest.mark.parametrize("average", [False, True])
def test_heads_whose_weights_are_returned_stay(average: bool) -> None:
    small = checked(cross(returned=True, average=average), *pairs((2, 5, 4), (1, 1, 3)))
    assert (small.attention.num_heads, small.attention.head_dim, small.attention.value_dim) == (3, 4, 3)


def test_a_compact_attention_becomes_smaller_again() -> None:
    small = checked(cross(), *pairs((2, 5, 4)))
    silence(small.attention.in_proj_weight, small.attention.in_proj_bias, 0, 2)  # of the two queries of either head, one
    again = checked(small, *pairs((2, 5, 4), (1, 2, 3)))
    assert (again.attention.num_heads, again.attention.head_dim, again.attention.value_dim) == (2, 1, 3)


@pytest.mark.parametrize("number_of_layers", [1, 8])
def test_only_what_depends_on_the_size_of_the_input_stays(number_of_layers: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(*(Block(OfTheInput()) for _ in range(number_of_layers)))
    x, *others = sequences((2, 5), (1, 9))
    small = checked(with_biases(zero_at_random(net)), x, *others)
    for block in small:
        assert block.attention.qkv.weight.shape == (3 * WIDTH, WIDTH)
        assert len(block.up.weight) < 16


@pytest.mark.parametrize(("heads", "width"), [(2, 3), (3, 2), (2, 2), (2, 1)])
def test_numbers_that_are_the_size_of_several_axes(heads: int, width: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    own = SquareHeads()
    net = with_biases(Block(own))
    silence(own.qkv.weight, own.qkv.bias, *(unit for unit in range(27) if unit // 3 % 3 >= heads or unit % 3 >= width))
    small = checked(net, *sequences((2, 5), (1, 4)))
    assert (small.attention.num_heads, small.attention.head_dim) == (heads, width)
    file_gives_back(small, net, sequences((3, 4))[0], tmp_path)


def test_attentions_whose_queries_one_layer_makes() -> None:
    net = TwoOfOneQuery().double()
    width = WIDTH // net.heads
    gone = (1, width + 1)  # one unit of each head
    silence(net.query.weight, net.query.bias, *gone, *(WIDTH + row for row in gone))
    for layer in (*net.keys, *net.values):
        silence(layer.weight, layer.bias, *gone)
    small = checked(net, *sequences((3, 6), (2, 9)))
    assert small.query.out_features == 2 * (WIDTH - 2)


def eager(net: Any) -> nn.Module:
    """The network with attention as single operations."""
    if hasattr(net, "set_attn_implementation"):
        net.set_attn_implementation("eager")
    for module in net.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    return net  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", ["timm vit_tiny_patch16_224", *(f"Hugging Face {kind}" for kind in ("GPT-2", "Llama"))])
def test_networks_of_others_with_attention_as_single_operations(name: str) -> None:
    (specimen,) = specimens(name)
    make: Callable[[], nn.Module] = specimen.make
    found: Row = measure(replace(specimen, make=lambda: eager(make())))
    assert found.left < 0.85
    assert found.removable <= 0.02
    assert found.difference <= 1e-5
    assert found.difference_64 <= 1e-10
