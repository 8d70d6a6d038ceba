"""Networks whose residual stream, which normalisations read, has lost units."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pyro_vd.compaction import unit_groups


@torch.no_grad()
def without_stream_units(net: nn.Module, x: Any, norms: bool, share: float = 0.4) -> int:
    """Set to zero all that makes a share of the units that normalisations read; their own gains and biases too if ``norms``.

    Where their outputs are not constant then, all that reads these is zero. Returns the number of units that are left.
    """
    found = unit_groups(net, x)
    paths = [path for path, module in net.named_modules() if "norm" in type(module).__name__.lower()]
    own = {f"{path}.{name}" for path in paths for name in ("weight", "bias")} & found.groups.keys()
    stream = torch.cat([found.groups[f"{path}.weight"][0] for path in paths]).unique()
    assert all(torch.equal(found.groups[name][0], found.groups[f"{paths[0]}.weight"][0]) for name in own), "one stream"
    assert not torch.isin(stream, found.fixed).any()
    gone = stream[torch.randperm(len(stream), generator=torch.Generator().manual_seed(0))[: int(share * len(stream))]]
    for name, parameter in net.named_parameters():
        for dim, groups in found.groups.get(name, {}).items():
            if norms or name not in own:
                parameter.index_fill_(dim, torch.isin(groups, gone).nonzero()[:, 0], 0)
    return len(stream) - len(gone)
