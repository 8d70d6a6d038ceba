"""The plain network that pruning leaves."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pyro_vd.guides.checks import check_guide
from pyro_vd.guides.means import posterior_mean
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.pruning.rule import Rule, pruning_masks
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD

_ROWS = 256
"""The number of rows of a weight that are multiplied by their mask at a time: torch makes a mask of their type first."""

logger: logging.Logger = logging.getLogger(__name__)


def prune(guide: WeightGuide, rule: Rule = DEFAULT_THRESHOLD) -> nn.Module:
    """Return the network at the posterior mean with every pruned weight zero, as an ordinary module without Pyro.

    A log message names the sites of which no weight is left, since the network may then have become a constant.

    Args:
        guide: a trained guide that learns α.
        rule: which weights are pruned: a :class:`~pyro_vd.PruningRule`; or a threshold on log α alone, which is a number or the
            result of :func:`~pyro_vd.choose_threshold`. A lower threshold prunes more.

    Raises:
        InputError: ``guide`` is not a guide, or has no log α; a log α is NaN; or the rule does not fit the guide, see
            :func:`~pyro_vd.pruning.pruning_masks`.
    """
    check_guide(guide)
    masks = pruning_masks(guide, rule)
    report_empty_sites(masks)
    return masked(guide, masks)


@torch.no_grad()
def masked(guide: WeightGuide, masks: Mapping[str, Tensor]) -> nn.Module:
    """Return the network at the posterior mean with every weight zero where the mask of its site is False."""
    net = posterior_mean(guide)
    for name, mask in masks.items():
        weight, kept = torch.atleast_1d(net.get_parameter(name), mask)
        for part, left in zip(weight.split(_ROWS), kept.split(_ROWS), strict=True):
            part.mul_(left)
    return net


def report_empty_sites(masks: Mapping[str, Tensor]) -> None:
    """Log a warning that names the sites of which no weight is left, if there are any."""
    if empty := [name for name, mask in masks.items() if not mask.any()]:
        logger.warning(
            "no weight is left of %s: nothing that only passes through it depends on the inputs any more. If the network now "
            "guesses, too much was pruned: train with a lower kl_weight or let it grow later, or prune with a higher threshold",
            " and of ".join(map(repr, empty)),
        )


def pruned_or_mean(guide: WeightGuide, rule: Rule = DEFAULT_THRESHOLD) -> nn.Module:
    """Return the pruned network of a guide that learns α, and the posterior mean of any other; nothing is logged.

    Args:
        guide: a trained guide.
        rule: see :func:`prune`; unused where the guide learns no α, since nothing says which weights to remove.

    Raises:
        InputError: see :func:`prune`.
    """
    return masked(guide, pruning_masks(guide, rule)) if guide.learns_alpha else posterior_mean(guide)
