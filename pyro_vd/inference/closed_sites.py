"""The weight sites of a pair whose KL is added in closed form: they need no distributions, and Pyro no statements of them."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from pyro.poutine.runtime import _PYRO_STACK

from pyro_vd.distributions.closed_form import ClosedForm, are_leaves, form_of
from pyro_vd.evaluation.class_labels import base_distribution


def closed_forms(model: Any, guide: Any) -> dict[str, ClosedForm]:
    """Return the KLs that are to be added in closed form, by site.

    They are those of sites whose parameters the guide names as leaves, with a prior whose KL has a form.

    Args:
        model: has ``priors`` by site.
        guide: has ``site_names`` and ``leaves``; see :meth:`~pyro_vd.guides.weight_guide.WeightGuide.leaves`.
    """
    found: dict[str, ClosedForm] = {}
    with guide._pyro_context if _PYRO_STACK else nullcontext():  # in which SVI is told of the parameters
        for name in guide.site_names:
            leaves, prior = guide.leaves(name), model.priors.get(name)
            form = None if leaves is None or prior is None else form_of(base_distribution(prior))
            if form is not None and prior.shape() == leaves[0].shape and are_leaves(*leaves[:2]):
                found[name] = ClosedForm(leaves[0], leaves[1], form, leaves[2])
    return found
