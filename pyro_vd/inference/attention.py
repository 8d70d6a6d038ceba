"""Multi-head attention as single operations, so that each of its four projections is a linear map of its own.

``multi_head_attention_forward`` hands over to a tensor subclass as a whole, before its first projection. Here the same code of
PyTorch runs without handing over, and with projections that keep examples in dimension 0, where linear maps expect them.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor

_ATTENTION = cast(FunctionType, F.multi_head_attention_forward)


def attention(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
    """``torch.nn.functional.multi_head_attention_forward`` with the same arguments and the same result."""
    query = args[0] if args else kwargs["query"]
    examples = query.shape[1] if query.ndim == 3 else 1

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """A projection of ``(positions, examples, features)``, or of ``(positions * examples, features)``."""
        rows = x.reshape(-1, examples, x.shape[-1]).transpose(0, 1)
        return F.linear(rows, weight, bias).transpose(0, 1).reshape(*x.shape[:-1], len(weight)).contiguous()

    def packed(q: Tensor, k: Tensor, v: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
        if q is k is v:
            return tuple(part.contiguous() for part in linear(q, weight, bias).chunk(3, -1))
        biases = (None, None, None) if bias is None else bias.chunk(3)
        return tuple(map(linear, (q, k, v), weight.chunk(3), biases))

    def separate(q: Tensor, k: Tensor, v: Tensor, *weights_and_biases: Any) -> tuple[Tensor, ...]:
        return tuple(map(linear, (q, k, v), weights_and_biases[:3], weights_and_biases[3:] or (None, None, None)))

    names = {"linear": linear, "_in_projection_packed": packed, "_in_projection": separate}
    by_operations = FunctionType(
        _ATTENTION.__code__, {**vars(F), **names, "has_torch_function": lambda _: False}, argdefs=_ATTENTION.__defaults__
    )
    return cast(tuple[Tensor, Tensor | None], by_operations(*args, **kwargs))


DECOMPOSED = {F.multi_head_attention_forward: attention}
"""Functions that are replaced by single operations if one of their arguments is a weight with a prior."""
