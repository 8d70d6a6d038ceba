"""The entry for a likelihood in the ``info`` of a network's file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyro_vd._core.errors import InputError
from pyro_vd.evaluation.selection import Selected
from pyro_vd.models.likelihood import Likelihood
from pyro_vd.models.likelihoods import LIKELIHOODS
from pyro_vd.models.structured_likelihoods import Heads, Weighted


def describe(likelihood: Likelihood) -> dict[str, Any]:
    """Return the entry for a likelihood in the ``info`` of a network's file; it is empty for a categorical one without options.

    A class whose constructor has arguments gives them in its property ``options``, as plain numbers, text or lists by name.

    Args:
        likelihood: an instance of one of :data:`~pyro_vd.models.likelihoods.LIKELIHOODS`; or a
            :class:`~pyro_vd.models.Heads`, a :class:`~pyro_vd.models.Weighted`, or, by a key or an index, a
            :class:`~pyro_vd.evaluation.Selected` of these.

    Raises:
        InputError: the likelihood has another class, or selects by a function.
    """
    entry = _entry(likelihood)
    return {} if entry == {"name": "categorical"} else {"likelihood": entry}


def _entry(likelihood: Likelihood | None) -> dict[str, Any]:
    if isinstance(likelihood, Selected):
        if not isinstance(likelihood.output, str | int):
            raise InputError(name="output", value=likelihood.output, allowed="a key or an index, because a file names it")
        return {"output": likelihood.output, **_entry(likelihood.likelihood)}
    if isinstance(likelihood, Heads):
        return {"heads": {name: _entry(part) for name, part in likelihood.heads.items()}}
    if isinstance(likelihood, Weighted):
        return {"weighted": _entry(likelihood.likelihood)}
    kinds = LIKELIHOODS.items()
    name = "categorical" if likelihood is None else next((name for name, kind in kinds if type(likelihood) is kind), None)
    if name is None:
        allowed = f"one of {', '.join(LIKELIHOODS)}, because a file names it"
        raise InputError(name="likelihood", value=likelihood, allowed=allowed)
    return {"name": name, **getattr(likelihood, "options", {})}


def likelihood_of(info: Mapping[str, Any]) -> Likelihood | None:
    """Return the likelihood of a network's file with this ``info``; None, for classes from logits, where ``info`` has none.

    Raises:
        InputError: the entry is not one that :func:`describe` makes.
    """
    if "likelihood" not in info:
        return None
    description = info["likelihood"]
    try:
        return _made(description)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        allowed = f"a mapping with the name of one of {', '.join(LIKELIHOODS)}, and its options"
        raise InputError(name="likelihood", value=description, allowed=allowed) from error


def _made(description: Any) -> Likelihood:
    options = dict(description)
    if "output" in options:
        output = options.pop("output")
        return Selected(output, _made(options))
    if set(options) == {"heads"}:
        return Heads({name: _made(part) for name, part in options["heads"].items()})
    if set(options) == {"weighted"}:
        return Weighted(_made(options["weighted"]))
    kind = LIKELIHOODS[options.pop("name")]
    made: Likelihood = kind(**options)
    return made
