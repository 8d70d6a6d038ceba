"""Masks of the weights to keep, from their log α alone."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD, Threshold, check_threshold


def threshold_masks(
    log_alphas: Mapping[str, Tensor], threshold: Threshold | Mapping[str, float] = DEFAULT_THRESHOLD
) -> dict[str, Tensor]:
    """Return masks that are True for every weight to keep, by site: those with log α below the threshold.

    Args:
        log_alphas: log α of every weight, by site.
        threshold: one threshold for all sites, or a mapping from sites to thresholds.

    Raises:
        InputError: ``threshold`` is not a threshold, or a log α is NaN.
    """
    if not isinstance(threshold, Mapping):
        threshold = dict.fromkeys(log_alphas, check_threshold(threshold))
    for name, values in log_alphas.items():
        if broken := int(values.isnan().sum()):
            raise InputError(
                f"site {name!r}: {broken} of {values.numel()} values of log α are NaN; all must be numbers. Train the guide "
                "again from a state without NaN, for example with a lower learning rate",
                name=name,
                value=broken,
            )
    return {name: values < threshold[name] for name, values in log_alphas.items()}
