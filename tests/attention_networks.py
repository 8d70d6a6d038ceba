"""Networks with attention, in the forms in which others write it, and with units that can go."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 12


class Attention(nn.Module):
    """Self-attention of three heads with four units each, in one of several forms."""

    def __init__(self, form: str, causal: bool) -> None:
        super().__init__()
        self.form, self.causal = form, causal
        self.num_heads, self.head_dim, self.inner = 3, 4, 12
        self.q, self.k, self.v = (nn.Linear(WIDTH, 12) for _ in range(3))
        self.out = nn.Linear(12, WIDTH)
        self.by_head = nn.Parameter(torch.randn(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        batch, positions, _ = x.shape
        q, k, v = (layer(x).view(batch, positions, self.num_heads, self.head_dim) for layer in (self.q, self.k, self.v))
        mask = torch.ones(positions, positions, dtype=torch.bool).tril() if self.causal else None
        if self.form == "einsum":
            scores = torch.einsum("bihd,bjhd->bhij", q, k) * self.head_dim**-0.5
            made = torch.einsum("bhij,bjhd->bihd", self.weights(scores, mask), v)
        else:
            q, k, v = (part.transpose(1, 2) for part in (q, k, v))
            if self.form == "one operation":
                made = F.scaled_dot_product_attention(q, k, v, mask)
            else:
                made = self.weights(self.scores(q, k), mask) @ v
            made = made.transpose(1, 2)
        return self.out(made.reshape(batch, positions, self.inner))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        if self.form == "root of the width":
            return q @ k.transpose(-1, -2) / math.sqrt(q.size(-1))
        if self.form == "width":
            return (q * (1 / self.head_dim)) @ k.transpose(-1, -2)
        if self.form == "both scaled":
            return (q * self.head_dim**-0.25) @ (k * self.head_dim**-0.25).transpose(-1, -2)
        if self.form == "heads in the batch":
            batch, heads, positions, _ = q.shape
            q, k = (part.reshape(batch * heads, positions, -1) for part in (q, k))
            return torch.baddbmm(q.new_zeros(1, 1, 1), q, k.transpose(1, 2)).view(batch, heads, positions, positions) * 0.5
        scores = 0.5 * (q @ k.transpose(-1, -2))
        return scores + self.by_head if self.form == "a bias for each head" else scores

    def weights(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None and self.form == "numbers":
            scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
        elif mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        if self.form == "capped":
            scores = scores.tanh()
        return scores.softmax(-1)


FORMS = (
    *("one operation", "numbers", "einsum", "root of the width", "width", "both scaled", "heads in the batch"),
    *("a bias for each head", "capped"),
)


class Block(nn.Module):
    """Attention and a layer of hidden units, each behind a normalisation and beside what it reads."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 16), nn.Linear(16, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_1(x))
        made: Tensor = x + self.down(self.up(self.norm_2(x)).relu())
        return made


class Grouped(nn.Module):
    """Attention of four heads, two of which share a key and a value, in one of several forms."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form, self.heads, self.groups, self.width = form, 4, 2, 5
        self.q, self.k, self.v = (nn.Linear(WIDTH, 5 * heads) for heads in (4, 2, 2))
        self.out = nn.Linear(20, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch, positions, _ = x.shape
        q = self.q(x).view(batch, positions, self.heads, self.width).transpose(1, 2)
        k, v = (layer(x).view(batch, positions, self.groups, self.width).transpose(1, 2) for layer in (self.k, self.v))
        repeats = self.heads // self.groups
        if self.form == "one operation":
            made = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
        elif self.form == "repeated":
            k, v = (part.repeat_interleave(repeats, 1) for part in (k, v))
            made = (q @ k.mT * 0.5).softmax(-1) @ v
        elif self.form == "expanded":
            sizes = (batch, self.groups, repeats, positions, self.width)
            k, v = (part[:, :, None].expand(sizes).reshape(batch, self.heads, positions, self.width) for part in (k, v))
            made = (q @ k.mT * 0.5).softmax(-1) @ v
        else:
            q = q.reshape(batch, self.groups, repeats, positions, self.width)
            weights = (0.3 * torch.einsum("bgrid,bgjd->bgrij", q, k)).softmax(-1)
            made = torch.einsum("bgrij,bgjd->bgrid", weights, v).flatten(1, 2)
        return self.out(made.transpose(1, 2).flatten(2))


class Cross(nn.Module):
    """PyTorch's attention of three heads between two sequences, with all of its options."""

    def __init__(
        self, *, need: bool = True, returned: bool = False, average: bool = True, mask: bool = False, **options: Any
    ) -> None:
        super().__init__()
        self.need, self.returned, self.average, self.mask = need, returned, average, mask
        self.a, self.b, self.c = nn.Linear(6, 12), nn.Linear(5, options.get("kdim", 12)), nn.Linear(5, options.get("vdim", 12))
        self.attention = nn.MultiheadAttention(12, 3, **options)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor, y: Tensor) -> Any:
        q, k, v = (part if self.attention.batch_first else part.transpose(0, 1) for part in (self.a(x), self.b(y), self.c(y)))
        padding = torch.arange(y.shape[1]).expand(y.shape[:2]) >= y.shape[1] - 1 if self.mask else None
        made, weights = self.attention(q, k, v, padding, self.need, average_attn_weights=self.average)
        made = self.head(made if self.attention.batch_first else made.transpose(0, 1))
        return (made, weights) if self.returned else made


class OfTheInput(nn.Module):
    """Attention that makes the width of its heads of the size of its input, so that it can have no other one."""

    def __init__(self) -> None:
        super().__init__()
        self.heads, self.width = 3, WIDTH
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, positions, width = x.shape
        parts = self.qkv(x).split(self.width, 2)
        q, k, v = (part.view(batch, positions, self.heads, width // self.heads).transpose(1, 2) for part in parts)
        scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(k.size(-1)))
        made: Tensor = self.out((scores.softmax(-1) @ v).transpose(1, 2).contiguous().view(batch, positions, width))
        return made


class SquareHeads(nn.Module):
    """Packed attention of three heads with three units each, so that a number is the size of several axes."""

    def __init__(self) -> None:
        super().__init__()
        self.positions = self.num_heads = self.head_dim = 3
        self.inner = 9
        self.qkv, self.out = nn.Linear(WIDTH, 27), nn.Linear(9, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).reshape(*x.shape[:2], 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
        made = F.scaled_dot_product_attention(*qkv.unbind(0))
        out: Tensor = self.out(made.transpose(1, 2).reshape(*x.shape[:2], self.inner))
        return out * torch.arange(1, 1 + self.positions).sum()


class TwoOfOneQuery(nn.Module):
    """Two attentions in one operation each, whose queries are halves of what one layer makes."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = 2
        self.query = nn.Linear(WIDTH, 2 * WIDTH)
        self.keys, self.values = (nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(2)) for _ in range(2))
        self.out = nn.Linear(2 * WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        made = []
        for query, key, value in zip(self.query(x).chunk(2, -1), self.keys, self.values, strict=True):
            parts = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query, key(x), value(x)))
            made.append(F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))
        return self.out(torch.cat(made, -1))


@torch.no_grad()
def with_biases(net: nn.Module) -> nn.Module:
    """A network whose biases are not zero, in float64."""
    for parameter in net.parameters():
        if parameter.ndim == 1:
            parameter.normal_(std=0.3)
    return net.double().eval()


@torch.no_grad()
def silence(weight: Tensor, bias: Tensor | None, *rows: int) -> None:
    """Set rows of a weight and entries of its bias to zero; without the bias, the units become constant."""
    weight[list(rows)] = 0
    if bias is not None:
        bias[list(rows)] = 0
