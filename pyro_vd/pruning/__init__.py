"""From log α to a plain network that holds zeros: thresholds, masks, the choice on validation data."""

from pyro_vd.pruning.masks import threshold_masks
from pyro_vd.pruning.pruned import prune
from pyro_vd.pruning.rule import pruning_masks
from pyro_vd.pruning.threshold_choice import choose_threshold

__all__ = ["choose_threshold", "prune", "pruning_masks", "threshold_masks"]
