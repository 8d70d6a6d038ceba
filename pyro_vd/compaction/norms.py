"""Which normalisations over units remember the values of constant units that are removed, and of which."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pyro_vd.compaction.analysis import Analysis
from pyro_vd.compaction.counting import Counting
from pyro_vd.compaction.module_plans import NormPlan


def norm_plans(analysis: Analysis, counting: Counting) -> Iterator[NormPlan]:
    """The normalisations from which units are removed."""
    for norm in analysis.norms:
        gone = ~counting.mask(norm.labels)
        if bool(gone.any()):  # a unit that is not constant goes only where nobody reads any output
            yield NormPlan(norm.path, tuple(norm.numbers[gone].nan_to_num(0.0).tolist()), norm.dim, norm.eps)


def keep_constants(analysis: Analysis, counting: Counting) -> None:
    """Let constant units that a normalisation reads keep their values if they stay, for whatever reason."""
    if not analysis.norms:
        return
    stay = [norm.labels[counting.mask(norm.labels) & norm.numbers.isfinite()] for norm in analysis.norms]
    roots = analysis.labels.find(torch.cat(stay))
    for product in analysis.products:
        product.needed |= torch.isin(analysis.labels.find(product.outputs), roots)
