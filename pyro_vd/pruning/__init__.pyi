from .masks import threshold_masks
from .pruned import prune
from .rule import PruningRule, pruning_masks
from .threshold_choice import choose_threshold
from .thresholds import ThresholdChoice

__all__ = [
    "PruningRule",
    "ThresholdChoice",
    "choose_threshold",
    "prune",
    "pruning_masks",
    "threshold_masks",
]
