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
    return {name: site_mask(name, values, threshold[name]) for name, values in log_alphas.items()}


def site_mask(name: str, log_alpha: Tensor, threshold: float) -> Tensor:
    """Return the mask of one site, see :func:`threshold_masks`.

    Raises:
        InputError: a log α is NaN.
    """
    if broken := int(log_alpha.isnan().count_nonzero()):
        raise InputError(
            f"site {name!r}: {broken} of {log_alpha.numel()} values of log α are NaN; all must be numbers. Train the guide "
            "again from a state without NaN, for example with a lower learning rate",
            name=name,
            value=broken,
        )
    return log_alpha < threshold
