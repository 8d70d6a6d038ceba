"""Distribution functions of numbers, also where torch has none; each can be computed for several draws by ``torch.vmap``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Binomial, Distribution, NegativeBinomial, Poisson, StudentT

from pyro_vd._core.extras import check_installed


def cdf(base: Distribution, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return P(Y < y) and P(Y ≤ y); NaN if there is no distribution function, as for several numbers that depend on each other.

    Raises:
        MissingPackageError: scipy is not installed, for the distributions that need it.
    """
    found: Any = base
    if isinstance(base, Poisson):
        below, upto = (_from_0(k, torch.special.gammaincc(k.clamp(min=0) + 1, base.rate)) for k in (y - 1, y))
        return below, upto
    if isinstance(base, NegativeBinomial):
        failure = torch.sigmoid(-found.logits)
        below, upto = (_from_0(k, _scipy("betainc", found.total_count, k.clamp(min=0) + 1, failure)) for k in (y - 1, y))
        return below, upto
    if isinstance(base, Binomial):
        failures = found.total_count - y
        lower, upto = failures + 1, failures.clamp(min=1)
        q = torch.sigmoid(-found.logits)
        below = _from_0(y - 1, _scipy("betainc", lower, (y - 1).clamp(min=0) + 1, q))
        return below, torch.where(failures <= 0, 1.0, _from_0(y, _scipy("betainc", upto, y.clamp(min=0) + 1, q)))
    if isinstance(base, StudentT):
        return (_scipy("stdtr", found.df, (y - found.loc) / found.scale),) * 2
    try:
        return (base.cdf(y),) * 2
    except NotImplementedError:
        return (torch.full_like(y, torch.nan),) * 2


def _from_0(k: Tensor, probability: Tensor) -> Tensor:
    return torch.where(k < 0, 0.0, probability)


def _scipy(name: str, *tensors: Tensor) -> Tensor:
    """Return a function of ``scipy.special`` of tensors, element by element."""
    check_installed("the distribution function of such a likelihood", "scipy")
    from scipy import special

    return _Elementwise.apply(getattr(special, name), *torch.broadcast_tensors(*tensors))


class _Elementwise(torch.autograd.Function):
    """A function of NumPy arrays, without a gradient."""

    @staticmethod
    def forward(function: Callable[..., Any], *tensors: Tensor) -> Tensor:
        like = tensors[-1]
        return torch.as_tensor(function(*(tensor.double().cpu().numpy() for tensor in tensors))).to(like)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def vmap(info: Any, in_dims: Any, function: Callable[..., Any], *tensors: Tensor) -> tuple[Tensor, int]:
        dims = in_dims[1:]
        size = info.batch_size
        first = [
            tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip(tensors, dims, strict=True)
        ]
        return _Elementwise.apply(function, *first), 0
