"""From log α to a plain network that holds zeros: thresholds, masks, the choice on validation data."""

from pyro_vd.pruning.masks import keep_masks, kept_weights
from pyro_vd.pruning.pruned import prune
from pyro_vd.pruning.threshold_choice import choose_threshold

__all__ = ["choose_threshold", "keep_masks", "kept_weights", "prune"]
