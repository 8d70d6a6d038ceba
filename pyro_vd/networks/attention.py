"""Attention whose heads have a width of their own, as a compact ``nn.MultiheadAttention`` needs it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention with heads of any width; it is called as ``nn.MultiheadAttention`` is, and has its parameters.

    Args:
        whole: the attention whose parameters it takes; they are shared until others take their place.
        heads: how many heads there are.
        width: how many units of query and key each head has.
        value_width: how many units of value each head has.
    """

    in_proj_weight: Tensor | None
    q_proj_weight: Tensor | None
    k_proj_weight: Tensor | None
    v_proj_weight: Tensor | None
    in_proj_bias: Tensor | None
    bias_k: Tensor | None
    bias_v: Tensor | None

    def __init__(self, whole: nn.MultiheadAttention, heads: int, width: int, value_width: int) -> None:
        super().__init__()
        self.num_heads: int = heads
        self.head_dim: int = width
        self.value_dim: int = value_width
        self.batch_first: bool = whole.batch_first
        self.add_zero_attn: bool = whole.add_zero_attn
        self.scale: float = whole.head_dim**-0.5
        for name, parameter in {"bias_k": None, "bias_v": None, **whole._parameters}.items():
            self.register_parameter(name, parameter)
        self.out_proj: nn.Module = whole.out_proj
        self._qkv_same_embed_dim = False  # nn.TransformerEncoderLayer then calls forward, not a kernel for equal widths
        self.train(whole.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend as ``nn.MultiheadAttention.forward`` does, with the same arguments and results, in evaluation mode."""
        batched = query.dim() == 3
        inputs = [query, key, value]
        if not batched:
            inputs = [x.unsqueeze(0) for x in inputs]
        elif not self.batch_first:
            inputs = [x.transpose(0, 1) for x in inputs]
        q, k, v = self._projected(inputs)
        mask = self._mask(key_padding_mask, attn_mask, q)
        if mask is not None:  # what is added to key and value is never masked
            mask = F.pad(mask, (0, (self.bias_k is not None) + self.add_zero_attn))
        if need_weights:
            scores = q @ k.transpose(-1, -2) * self.scale
            weights = (scores if mask is None else scores + mask).softmax(-1)
            made = weights @ v
        else:
            weights = None
            made = F.scaled_dot_product_attention(q, k, v, mask, scale=self.scale)
        output: Tensor = self.out_proj(made.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(1)
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights

    def _projected(self, inputs: list[Tensor]) -> list[Tensor]:
        """Query, key and value, each ``(n, heads, positions, width)``."""
        widths = [self.num_heads * width for width in (self.head_dim, self.head_dim, self.value_dim)]
        if self.in_proj_weight is not None:
            weights = list(self.in_proj_weight.split(widths))
        else:
            weights = [w for w in (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight) if w is not None]
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.split(widths)
        made = [F.linear(x, weight, bias) for x, weight, bias in zip(inputs, weights, biases, strict=True)]
        added = [None, self.bias_k, self.bias_v]
        made = [x if b is None else torch.cat([x, b.expand(len(x), -1, -1)], 1) for x, b in zip(made, added, strict=True)]
        query, *others = [x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in made]
        return [query, *(F.pad(x, (0, 0, 0, 1)) if self.add_zero_attn else x for x in others)]

    def _mask(self, padding: Tensor | None, mask: Tensor | None, query: Tensor) -> Tensor | None:
        """Both masks as one that is added to the scores, ``(n or 1, heads or 1, queries or 1, keys)``."""
        added: Tensor | None = None
        if mask is not None:
            added = _additive(mask, query)
            added = added.unflatten(0, (query.shape[0], -1)) if added.dim() == 3 else added
        if padding is not None:
            padding = _additive(padding, query)
            padding = (padding if padding.dim() == 2 else padding[None])[:, None, None]
            added = padding if added is None else added + padding
        return added

    def extra_repr(self) -> str:
        return f"heads={self.num_heads}, width={self.head_dim}, value_width={self.value_dim}"


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers to add: −∞ where it is True."""
    if mask.dtype is not torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -torch.inf)
