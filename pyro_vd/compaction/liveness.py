"""Third pass, *liveness*: mark the units that the network's output depends on."""

from __future__ import annotations

from pyro_vd.compaction.parts import Layer
from pyro_vd.compaction.placement import Placement


def mark_live(placement: Placement) -> None:
    """Go back from what is pinned, the output above all, and mark as live all units that are read on the way."""
    for units in placement.units.values():
        if units.space.pinned:
            units.space.live[:] = True
    for part in reversed(placement.parts.values()):
        if isinstance(part, Layer):  # whatever reads its outputs comes after it
            part.needed = part.output.live.clone()
            if part.source is not None:
                space = part.source.space
                space.live |= part.reads[part.needed].any(0).reshape(space.size, -1).any(1)
