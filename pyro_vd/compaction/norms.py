"""Normalisations over units from which constant units are removed: they remember the values of these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.counting import Counting
from pyro_vd.networks.partial_norms import PartialNorm


@dataclass(frozen=True)
class NormPlan:
    """A layer or RMS normalisation that a :class:`~pyro_vd.networks.partial_norms.PartialNorm` replaces.

    Attributes:
        module: path of the module.
        removed: the values of the units that are removed.
        dim: the dimension of the units in the module's input.
        eps: that of an RMS normalisation that is no module of PyTorch; else None.
    """

    module: str
    removed: tuple[float, ...]
    dim: int = -1
    eps: float | None = None


def norm_plans(analysis: Analysis, counting: Counting) -> Iterator[NormPlan]:
    """The normalisations from which units are removed."""
    for norm in analysis.norms:
        gone = ~counting.mask(norm.labels)
        if bool(gone.any()):  # a unit that is not constant goes only where nobody reads any output
            yield NormPlan(norm.path, tuple(norm.numbers[gone].nan_to_num(0.0).tolist()), norm.dim, norm.eps)


def keep_constants(analysis: Analysis, counting: Counting) -> None:
    """Let constant units that a normalisation reads keep their values if they stay, for whatever reason."""
    for norm in analysis.norms:
        stay = norm.labels[counting.mask(norm.labels) & norm.numbers.isfinite()]
        roots = analysis.labels.find(stay)
        for product in analysis.products:
            product.needed |= torch.isin(analysis.labels.find(product.outputs), roots)


def replace_norm(net: nn.Module, found: NormPlan) -> None:
    """Put a normalisation that remembers removed units in the place of another one, or let one remember more.

    Raises:
        InputError: there is another module in that place.
    """
    whole = net.get_submodule(found.module)
    try:
        made = whole if isinstance(whole, PartialNorm) else PartialNorm.of(whole, found.dim, found.eps)
    except TypeError as error:
        raise InputError(f"{found.module} cannot lose units: {error}", name=found.module) from error
    like = next(parameter for parameter in net.parameters() if parameter.is_floating_point())
    made.removed = torch.cat([made.removed.to(like), torch.tensor(found.removed, dtype=torch.float64).to(like)])
    for module in net.modules():
        for name, child in module._modules.items():
            if child is whole:
                module._modules[name] = made
