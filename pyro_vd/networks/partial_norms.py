"""Layer and RMS normalisation over units of which some were removed, as compact networks need it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PartialNorm(nn.Module):
    """Layer or RMS normalisation of some units beside others that are constant and no longer there.

    Mean and variance are those of all units, so that the outputs are those of the whole normalisation.

    Args:
        normalized_shape: how many units there are with those that were removed, as a tuple of one number.
        num_removed: how many units were removed.
        eps: see ``nn.LayerNorm``; None is allowed for RMS normalisation, see ``nn.RMSNorm``.
        is_rms: whether it is RMS normalisation.
        elementwise_affine, bias: whether there are a gain ``weight`` and a ``bias``, ``(units that are there,)``.
        dim: the dimension of the units in the input.

    Attributes:
        removed: ``(num_removed,)``, the values of the units that are not there; zeros at first.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    removed: Tensor

    def __init__(
        self,
        normalized_shape: Sequence[int],
        num_removed: int = 0,
        eps: float | None = 1e-5,
        is_rms: bool = False,
        elementwise_affine: bool = True,
        bias: bool = True,
        dim: int = -1,
    ) -> None:
        super().__init__()
        (units,) = normalized_shape
        self.normalized_shape: tuple[int] = (units,)
        self.eps: float | None = eps
        self.is_rms: bool = is_rms
        self.elementwise_affine: bool = elementwise_affine
        self.dim: int = dim
        left = units - num_removed
        self.register_parameter("weight", nn.Parameter(torch.ones(left)) if elementwise_affine else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(left)) if elementwise_affine and bias else None)
        self.register_buffer("removed", torch.zeros(num_removed))

    @classmethod
    def of(cls, whole: nn.Module, dim: int = -1, eps: float | None = None) -> Self:
        """Make one that has lost no unit yet; it shares the parameters of ``whole`` until others take their place.

        Args:
            whole: an ``nn.LayerNorm`` or ``nn.RMSNorm``, or a module that is RMS normalisation with the gain ``weight`` and
                this ``eps``.
            dim, eps: see :class:`PartialNorm`; PyTorch's modules have their own ``eps``.

        Raises:
            TypeError: another module.
        """
        weight, bias = whole._parameters.get("weight"), whole._parameters.get("bias")
        if isinstance(whole, nn.LayerNorm | nn.RMSNorm):
            made = cls(whole.normalized_shape, 0, whole.eps, isinstance(whole, nn.RMSNorm), False, dim=dim)
        elif eps is not None and weight is not None and len(whole._parameters) == 1 and not whole._modules:
            made = cls(tuple(weight.shape), 0, eps, True, False, dim=dim)
        else:
            raise TypeError(f"a {type(whole).__name__} is not a layer or RMS normalisation")
        made.elementwise_affine = weight is not None
        made.weight, made.bias = weight, bias
        return made.train(whole.training)

    @property
    def num_removed(self) -> int:
        """How many units were removed."""
        return len(self.removed)

    def forward(self, x: Tensor) -> Tensor:
        if self.dim != -1:
            x = x.movedim(self.dim, -1)
        units = self.normalized_shape[0] - self.num_removed
        whole = torch.cat([x, self.removed.to(x).expand(*x.shape[:-1], -1)], -1)
        made = self._normalised(whole)[..., :units]
        if self.weight is not None:
            made = made * self.weight
        if self.bias is not None:
            made = made + self.bias
        return made if self.dim == -1 else made.movedim(-1, self.dim)

    def _normalised(self, x: Tensor) -> Tensor:
        if self.is_rms:
            return F.rms_norm(x, self.normalized_shape, eps=self.eps)
        return F.layer_norm(x, self.normalized_shape, eps=self.eps or 0.0)

    def extra_repr(self) -> str:
        kind = "rms" if self.is_rms else "layer"
        return f"{kind}, {self.normalized_shape}, removed={self.num_removed}, eps={self.eps}, dim={self.dim}"
