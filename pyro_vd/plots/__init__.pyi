from .posterior import input_relevance, kl_by_layer, largest_weights, log_alpha_histograms, mean_against_deviation, weight_masks
from .sizes import before_and_after, error_against_compression
from .training import training_curves
from .uncertainty import error_against_coverage, reliability
from .weights import first_layer_images, weight_matrices

__all__ = [
    "before_and_after",
    "error_against_compression",
    "error_against_coverage",
    "first_layer_images",
    "input_relevance",
    "kl_by_layer",
    "largest_weights",
    "log_alpha_histograms",
    "mean_against_deviation",
    "reliability",
    "training_curves",
    "weight_masks",
    "weight_matrices",
]
