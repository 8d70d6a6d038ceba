"""The entry for a likelihood in the ``info`` of a network's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.selection import Selected
from pyro_vd.models.likelihoods import LIKELIHOODS, Likelihood


def describe(likelihood: Likelihood) -> dict[str, Any]:
    """Return the entry for a likelihood in the ``info`` of a network's file; it is empty for a categorical one without options.

    A class whose constructor has arguments gives them in its property ``options``, as plain numbers, text or lists by name.

    Args:
        likelihood: an instance of one of :data:`~pyro_vd.models.likelihoods.LIKELIHOODS`, or a
            :class:`~pyro_vd.evaluation.Selected` of one, by a key or an index.

    Raises:
        InputError: the likelihood has another class, or selects by a function.
    """
    if isinstance(likelihood, Selected):
        if not isinstance(likelihood.output, str | int):
            raise InputError(name="output", value=likelihood.output, allowed="a key or an index, because a file names it")
        inner = {} if likelihood.likelihood is None else describe(likelihood.likelihood)
        return {"likelihood": {"output": likelihood.output, **inner.get("likelihood", {"name": "categorical"})}}
    name = next((name for name, kind in LIKELIHOODS.items() if type(likelihood) is kind), None)
    if name is None:
        allowed = f"one of {', '.join(LIKELIHOODS)}, because a file names it"
        raise InputError(name="likelihood", value=likelihood, allowed=allowed)
    entry = {"name": name, **getattr(likelihood, "options", {})}
    return {} if entry == {"name": "categorical"} else {"likelihood": entry}


def likelihood_of(info: Mapping[str, Any]) -> Likelihood | None:
    """Return the likelihood of a network's file with this ``info``; None, for classes from logits, where ``info`` has none.

    Raises:
        InputError: the entry is not one that :func:`describe` makes.
    """
    if "likelihood" not in info:
        return None
    description = info["likelihood"]
    try:
        options = dict(description)
        output = options.pop("output", None)
        made: Likelihood = LIKELIHOODS[options.pop("name")](**options)
        likelihood: Likelihood = made if output is None else Selected(output, made)
    except (KeyError, TypeError, ValueError) as error:
        allowed = f"a mapping with the name of one of {', '.join(LIKELIHOODS)}, and its options"
        raise InputError(name="likelihood", value=description, allowed=allowed) from error
    return likelihood
