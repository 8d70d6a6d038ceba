"""Checks of class labels and soft labels; each error quotes the value and says what is allowed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import examples_of_shape, type_name
from pyro_vd.evaluation.class_labels import ClassLabels, base_distribution
from pyro_vd.evaluation.support import shown_numbers

_OTHERS = (
    "For numbers use another likelihood, such as likelihood=pyro_vd.models.Normal(), and for counts Poisson(); in a recipe, "
    "model.likelihood: normal or poisson"
)


def check_classes(name: str, y: Tensor, distribution: Distribution, n: int, output_shape: tuple[int, ...]) -> Tensor:
    """Return labels as int64, or soft labels with the type of the logits.

    Args:
        name: what the labels are called in an error.
        y: labels ``(n, *positions)``, or soft labels ``(n, *positions, classes)`` for :class:`~.class_labels.ClassLabels`.
        distribution: the distribution of the labels of the first examples or of all.
        n: the number of these examples.
        output_shape: the shape of the network's output for one example.

    Raises:
        InputError: the labels have a shape, a type or values that the distribution does not allow.
    """
    base: Any = base_distribution(distribution)
    positions, classes = tuple(distribution.event_shape), base.logits.shape[-1]
    if isinstance(base, ClassLabels) and y.is_floating_point() and tuple(y.shape[1:]) == (*positions, classes):
        return _check_soft(name, y.to(base.logits.dtype))
    if tuple(y.shape[1:]) != positions:
        wanted = examples_of_shape(positions)
        hint = "; where the classes are dimension 1 of the output, as those of pixels, the likelihood is Categorical(dim=1)"
        raise InputError(
            f"{name}: labels of shape {tuple(y.shape)}; they must be integers of shape {wanted}{hint if y.ndim > 2 else ''}",
            name=name,
            value=tuple(y.shape),
            allowed=f"of shape {wanted}",
        )
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise InputError(
            f"{name}: labels of type {type_name(y.dtype)}; they must be integers. {_OTHERS}",
            name=name,
            value=y.dtype,
            allowed="integers",
        )
    ignored = getattr(base, "ignore_index", None)
    kept = y if ignored is None else y[y != ignored]
    if not kept.numel():
        message = f"{name}: all labels are {ignored}, which is ignored; at least one label must be observed"
        raise InputError(message, name=name, value=ignored, allowed="at least one label that is not ignored")
    also = "" if ignored is None else f", or {ignored}, which is ignored"
    if int(kept.min()) < 0:
        message = f"{name}: label {int(kept.min())}; labels must be >= 0{also}"
        raise InputError(message, name=name, value=int(kept.min()), allowed=f">= 0{also}")
    if distribution.batch_shape != (n,) or int(kept.max()) >= classes:
        example = "(1, classes)" if not positions else f"that of {classes} classes at each of {positions} positions"
        raise InputError(
            f"{name}: label {int(kept.max())} does not fit the network, whose output for one example has the shape "
            f"{output_shape}, from which the likelihood makes {classes} classes; the shape must be {example}, and labels must "
            f"be from 0 to classes - 1{also}{_hint(kept, classes)}",
            name=name,
            value=int(kept.max()),
            allowed=f"from 0 to {classes - 1}{also}",
        )
    return y.long()


def _hint(y: Tensor, classes: int) -> str:
    """What the user may have meant by labels of which the highest one is too high."""
    if classes == 1:
        return f". {_OTHERS}"
    if int(y.min()) == 1 and int(y.max()) == classes:
        return f". These count from 1 to {classes}: give y - 1"
    return ""


def _check_soft(name: str, y: Tensor) -> Tensor:
    wrong = (y < 0).any(-1) | ((y.double().sum(-1) - 1).abs() > 1e-3) | ~y.isfinite().all(-1)
    if bool(wrong.any()):
        first = [int(place) for place in wrong.nonzero()[0]]
        found = tuple(y[tuple(first)].tolist())
        raise InputError(
            f"{name}: soft label {shown_numbers(found)} in example {first[0]}; it must be probabilities, at least 0, whose sum "
            f"is 1{f'. {_OTHERS}' if y.shape[-1] == 1 else ''}",
            name=name,
            value=found,
            allowed="probabilities, at least 0, whose sum is 1",
        )
    return y
