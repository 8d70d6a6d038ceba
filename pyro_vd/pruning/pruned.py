"""The plain network that pruning leaves."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pyro_vd._core.generators import generators_kept
from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.predictors import outputs
from pyro_vd.guides.checks import check_guide
from pyro_vd.guides.means import posterior_mean
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.networks.inputs import Inputs, device_of, num_examples, tensors_in
from pyro_vd.pruning.rule import Rule, pruning_masks
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD

_ROWS = 256
"""The number of rows of a weight that are multiplied by their mask at a time: torch makes a mask of their type first."""

_KNOBS = (
    "too much was pruned: let β, the weight of the KL, grow later or stay lower, as with kl_weight=KLWeight(0.1, end=30) or "
    "KLWeight(target=20); or prune with a higher threshold"
)
"""What to do against it, at the end of a message."""
_ROUNDING = 1e-6
"""The relative difference of outputs that are the same."""

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

    Examples:
        >>> from torch import nn
        >>> from pyro_vd import BayesianNetwork, VariationalDropout, prune
        >>> guide = VariationalDropout(BayesianNetwork(nn.Linear(4, 3)), log_sigma2=0.0)  # much noise on every weight
        >>> prune(guide, 100.0), int(prune(guide, -10.0).weight.any())
        (Linear(in_features=4, out_features=3, bias=True), 0)
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


def report_empty_sites(masks: Mapping[str, Tensor]) -> bool:
    """Log a warning that names the sites of which no weight is left, if there are any; return whether there are."""
    empty = [name for name, mask in masks.items() if not mask.any()]
    if empty and len(empty) == len(masks):
        logger.warning("no weight is left of any layer: the network guesses, as %s", _KNOBS)
    elif empty:
        logger.warning(
            "no weight is left of %s: nothing that only passes through it depends on the inputs any more. If the network now "
            "guesses, %s",
            *(" and of ".join(map(repr, empty)), _KNOBS),
        )
    return bool(empty)


def report_pruned(guide: WeightGuide, rule: Rule, example: Inputs, likelihood: Observed | None) -> None:
    """Log a warning where a guide that learns α, pruned by a rule, leaves a network that does not depend on its inputs.

    Nothing is said of a network that does not take the example by itself.

    Args:
        guide: that was just trained.
        rule: see :func:`prune`.
        example: a few inputs.
        likelihood: says which part of the output is taken.
    """
    masks = pruning_masks(guide, rule)
    if report_empty_sites(masks):
        return
    try:
        with generators_kept(device_of(example)):
            output = outputs(masked(guide, masks), example, likelihood)
    except Exception:  # it may take batches of one size alone, and no message is worth a training that is done
        return
    if _is_constant(output, example):
        logger.warning(
            "pruned by its rule, the network predicts the same for each of %d examples: %s", num_examples(example), _KNOBS
        )


def _is_constant(output: object, example: Inputs) -> bool:
    """Whether outputs are the same for all examples, of which not all are the same."""
    inputs = list(tensors_in(example))
    if all(torch.equal(x, x[:1].expand_as(x)) for x in inputs):
        return False
    return all(map(_are_the_same, tensors_in(output)))


def _are_the_same(y: Tensor) -> bool:
    """Whether all rows are the same, numbers but for rounding."""
    if not y.is_floating_point() or not y.numel():
        return torch.equal(y, y[:1].expand_as(y))
    return bool((y - y[:1]).abs().max() <= _ROUNDING * y.abs().max())


def pruned_or_mean(guide: WeightGuide, rule: Rule = DEFAULT_THRESHOLD) -> nn.Module:
    """Return the pruned network of a guide that learns α, and the posterior mean of any other; nothing is logged.

    Args:
        guide: a trained guide.
        rule: see :func:`prune`; unused where the guide learns no α, since nothing says which weights to remove.

    Raises:
        InputError: see :func:`prune`.
    """
    return masked(guide, pruning_masks(guide, rule)) if guide.learns_alpha else posterior_mean(guide)
