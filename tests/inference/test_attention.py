"""Attention as single operations agrees with PyTorch's, whatever the options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from pyro_vd.inference.reparam import KnownWeight

L, S, N, E = 5, 6, 3, 8

LAYERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False},
    "bias of keys and values": {"add_bias_kv": True},
    "zeros attended to": {"add_zero_attn": True},
    "other sizes": {"kdim": 4, "vdim": 6},
    "dropout": {"dropout": 0.5},
}
CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no weights": {"need_weights": False},
    "weights per head": {"average_attn_weights": False},
    "padding": {"key_padding_mask": torch.arange(S).expand(N, S) >= torch.tensor([[6], [4], [2]])},
    "padding, no weights": {"key_padding_mask": torch.randn(N, S), "need_weights": False},
    "mask": {"attn_mask": torch.rand(L, S) < 0.3},
    "mask per head": {"attn_mask": torch.randn(N * 2, L, S)},
    "causal": {"attn_mask": torch.ones(L, S).triu(1).bool(), "is_causal": True, "need_weights": False},
}


def both(layer: nn.MultiheadAttention, *x: Tensor, **options: Any) -> None:
    """Run the layer as it is, and with weights that hand over to the single operations, with the same random numbers."""
    names = [name for name, _ in layer.named_parameters() if "weight" in name]
    weights = {name: KnownWeight(layer.get_parameter(name)) for name in names}
    torch.manual_seed(0)
    wanted = layer(*x, **options)
    torch.manual_seed(0)
    found = functional_call(layer, weights, x, options)
    for one, other in zip(found, wanted, strict=True):
        if other is None:
            assert one is None
        else:
            torch.testing.assert_close(one, other, rtol=0, atol=3e-7)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("layer", LAYERS)
def test_agrees_with_pytorch(layer: str, call: str) -> None:
    torch.manual_seed(0)
    made = nn.MultiheadAttention(E, 2, **LAYERS[layer])
    q, k, v = torch.randn(L, N, E), torch.randn(S, N, made.kdim), torch.randn(S, N, made.vdim)
    if made.batch_first:
        q, k, v = (tensor.transpose(0, 1) for tensor in (q, k, v))
    both(made, q, k, v, **CALLS[call])


def test_agrees_with_pytorch_on_itself_and_on_one_example() -> None:
    torch.manual_seed(0)
    layer, x, y = nn.MultiheadAttention(E, 2), torch.randn(L, N, E), torch.randn(S, N, E)
    both(layer, x, x, x)
    both(layer, x, y, y)
    both(layer, x[:, 0], y[:, 0], y[:, 0])
    both(layer, x[:, 0], x[:, 0], x[:, 0], need_weights=False)


@pytest.mark.parametrize("fast_path", [True, False])
def test_the_fast_path_of_evaluation_does_not_bypass_draws(fast_path: bool) -> None:
    from pyro_vd.inference.gaussian_weight import GaussianWeight

    torch.manual_seed(0)
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast_path)
    layer, x = nn.TransformerEncoderLayer(E, 2, 16, batch_first=True).eval(), torch.randn(N, L, E)
    try:
        with torch.no_grad():
            for name in ("self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight"):
                weight = layer.get_parameter(name)
                one, other = (functional_call(layer, {name: GaussianWeight(weight, weight.square())}, x) for _ in range(2))
                assert not torch.equal(one, other), name
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
