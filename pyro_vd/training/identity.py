"""The identity of a function, module or distribution, equal in this process and in the next: never an address."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd.evaluation.class_labels import base_distribution
from pyro_vd.training.identity_values import UnknownError, ValueWriter

if TYPE_CHECKING:
    from pyro_vd.guides.weight_guide import WeightGuide

_LONGEST = 300


def identity(name: str, value: object, *, learnt: bool = False) -> str:
    """Text that is equal in every process for values that act alike, and differs, as far as can be known, for others.

    It is made of: for a function, its qualified name, code, defaults, closure and the globals that it uses; for an object, its
    class and what pickle would store; for a module, its tensors as well; all this recursively. A function or class of an
    installed package counts by its name alone.

    Args:
        name: what it is called in an error.
        value: a function, module, distribution or any object of plain values.
        learnt: leave out the parameters of modules, because training changes them.

    Raises:
        InputError: something inside has no identity but its address, such as a lock, an open file or a generator.
    """
    try:
        text = ValueWriter(learnt).of(value)
    except UnknownError as error:
        raise InputError(
            f"{name} (={quoted(value)}): a checkpoint must tell it from another in a new process, which {error} in it does not "
            "allow; make it a function, or an object of which every field is a number, text, a tensor or such an object",
            name=name,
            value=value,
            allowed="a function, or an object of plain values",
        ) from error
    return text if len(text) <= _LONGEST else f"{text[:200]}… {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def pair_identity(guide: WeightGuide) -> dict[str, Any]:
    """The identity of a guide and its model apart from what they learn: kind and settings of the guide, priors, likelihood.

    Raises:
        InputError: as :func:`identity`.
    """
    kind, model = type(guide), guide.model
    priors = {identity("prior", base_distribution(model.prior(name))) for name in model.weight_names}
    return {
        "guide": f"{identity('guide', kind)}({guide.extra_repr()})",
        "priors": sorted(priors),
        "likelihood": identity("likelihood", model.likelihood, learnt=True),
    }
