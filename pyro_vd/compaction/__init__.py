"""A pruned network made smaller, exactly: units that do not matter are taken away."""

from pyro_vd.compaction.compacting import compact
from pyro_vd.compaction.surviving import compact_size, surviving_units

__all__ = ["compact", "compact_size", "surviving_units"]
