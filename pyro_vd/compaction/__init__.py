"""Compaction: a pruned network is made smaller, exactly, by removing the units that do not matter.

:func:`compact` does it in one step. :func:`shrink_plan` finds the units to remove, and :func:`apply_plan` makes the smaller
network; :func:`shrink_tensor` shrinks a tensor that is shaped like a parameter, such as the state of an optimizer.
:func:`unit_groups` finds the units that must be kept or removed together.
"""

from pyro_vd.compaction.applying import apply_plan
from pyro_vd.compaction.compacting import compact, shrink_plan
from pyro_vd.compaction.groups import AttentionHeads, UnitGroups, unit_groups
from pyro_vd.compaction.layer_units import LayerUnits, SurvivingUnits, unit_counts
from pyro_vd.compaction.plan import ShrinkPlan, shrink_tensor
from pyro_vd.compaction.surviving import compact_size, surviving_features, surviving_units, surviving_words

__all__ = [
    "AttentionHeads",
    "LayerUnits",
    "ShrinkPlan",
    "SurvivingUnits",
    "UnitGroups",
    "apply_plan",
    "compact",
    "compact_size",
    "shrink_plan",
    "shrink_tensor",
    "surviving_features",
    "surviving_units",
    "surviving_words",
    "unit_counts",
    "unit_groups",
]
