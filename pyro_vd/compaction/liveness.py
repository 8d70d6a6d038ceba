"""Third pass, *liveness*: mark the units that the network's output depends on."""

from __future__ import annotations

from pyro_vd.compaction.parts import Layer
from pyro_vd.compaction.placement import Placement


def mark_live(placement: Placement) -> None:
    """Walk back from the pinned units, above all those of the output, and mark every unit that is read on the way as live."""
    for units in placement.units.values():
        if units.space.pinned:
            units.space.live[:] = True
    for part in reversed(placement.parts.values()):
        if isinstance(part, Layer):  # whatever reads its outputs comes after it
            part.needed = part.output.live.clone()
            if part.source is not None:
                space = part.source.space
                space.live |= part.reads[part.needed].any(0).reshape(space.size, -1).any(1)
