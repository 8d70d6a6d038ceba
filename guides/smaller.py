"""A guide over a smaller network, as compaction makes it, in the middle of a training."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork


def check_can_shrink(guide: WeightGuide) -> None:
    """Refuse a guide that cannot say which weights are removed, or has parameters beside those of its sites.

    Raises:
        InputError: it learns no log α; or it has appended guides, or other parameters of its own.
    """
    own = f"with a {type(guide).__name__}"
    if not guide.learns_alpha:
        raise InputError(name="shrink", value=True, allowed=f"False {own}, which learns no α to remove weights by")
    if others := [name for name, _ in guide.named_parameters() if not name.startswith("sites.")]:
        allowed = f"False {own} that has parameters beside those of its sites, such as {others[0]!r}"
        raise InputError(name="shrink", value=True, allowed=allowed)


def smaller_guide(
    guide: WeightGuide, model: BayesianNetwork, left: Mapping[str, Tensor]
) -> tuple[WeightGuide, dict[str, Tensor]]:
    """Return a guide of the same kind and settings over a smaller model, whose parameters are those that are left.

    Args:
        guide: the guide before, which is not changed.
        model: the smaller model.
        left: by site, the places of the weights that are left among all its weights, in the shape of the smaller weight.

    Returns:
        The guide without masks, and by name of each of its parameters the places of its numbers in the one before.

    Raises:
        InputError: which numbers are left cannot be told from the weights that are left.
    """
    sites = guide._modules["sites"]
    made = copy.deepcopy(guide, {id(guide.model): model, id(sites): sites})
    return made, made.take_smaller(guide, left)
