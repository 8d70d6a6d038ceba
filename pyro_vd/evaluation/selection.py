"""The part of a network's output that a likelihood takes, where the output is no tensor. Needs only torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd.evaluation.class_labels import ClassLabels
from pyro_vd.networks.inputs import map_leaves, named_leaves

Output = str | int | Callable[[Any], Any]
"""Which part of a network's output is taken: a key or an attribute, an index, or a function of the whole output."""


class Selected(nn.Module):
    """A likelihood of one part of a network's output, such as the logits of a model of Hugging Face.

    Args:
        output: a key or an attribute, an index, or a function of the whole output.
        likelihood: maps this part to the distribution of the observations; None for classes from logits. Its parameters are
            trained in place.

    Raises:
        InputError: ``output`` is none of these.
    """

    def __init__(self, output: Output, likelihood: Callable[[Any], Distribution] | None = None) -> None:
        super().__init__()
        if isinstance(output, bool) or not (isinstance(output, str | int) or callable(output)):
            raise InputError(name="output", value=output, allowed="a key, an index, or a function of the network's output")
        self.output = output
        self.likelihood = likelihood

    def select(self, output: Any) -> Any:
        """Return the part of a network's whole output.

        Raises:
            InputError: the output does not have it; the message lists what it has.
        """
        chosen = self.output
        if not isinstance(chosen, str | int):
            return chosen(output)
        if not isinstance(output, Tensor):
            if isinstance(output, Mapping) and chosen in output:
                return output[chosen]
            in_order = tuple(output.values()) if isinstance(output, Mapping) else output
            if isinstance(chosen, int) and isinstance(in_order, tuple | list) and -len(in_order) <= chosen < len(in_order):
                return in_order[chosen]
            if isinstance(chosen, str) and chosen in _parts(output):
                return getattr(output, chosen)
        raise InputError(
            f"output (={quoted(chosen)}) must be a part of the network's output, {_described(output)}; or a function of it",
            name="output",
            value=chosen,
            allowed=f"one of {', '.join(map(repr, _parts(output)))}" if _parts(output) else "None, or a function",
        )

    def forward(self, output: Any) -> Distribution:
        return observation_of(self.likelihood, self.select(output))

    def extra_repr(self) -> str:
        return f"output={self.output!r}"


def part_of(likelihood: object, output: Any) -> Any:
    """Return the part of a network's whole output that a likelihood takes; its method ``select``, if it has one, says which."""
    while isinstance(likelihood, Selected):
        output, likelihood = likelihood.select(output), likelihood.likelihood
    return likelihood.select(output) if hasattr(likelihood, "select") else output


def of_part(likelihood: Any) -> Any:
    """Return the likelihood that takes what :func:`part_of` selects."""
    while isinstance(likelihood, Selected):
        likelihood = likelihood.likelihood
    return likelihood


def with_inner(likelihood: Any, change: Callable[[Any], Any]) -> Any:
    """Return a likelihood after ``change``, which is applied to the inner likelihood of a :class:`Selected`."""
    if not isinstance(likelihood, Selected):
        return change(likelihood)
    inner = with_inner(likelihood.likelihood, change)
    return likelihood if inner is likelihood.likelihood else Selected(likelihood.output, inner)


def observation_of(likelihood: Callable[[Any], Any] | None, output: Any) -> Distribution:
    """Return the distribution that a likelihood makes of an output; None stands for classes from logits.

    Raises:
        InputError: the output is not a tensor, and the likelihood cannot take it; or it does not give a distribution.
    """
    try:
        found = ClassLabels(output) if likelihood is None else likelihood(output)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        if isinstance(output, Tensor) or isinstance(error, InputError):
            raise
        parts = _parts(output)
        example = repr(next((part for part in parts if part in ("logits", "output")), parts[0])) if parts else "function"
        if len(parts) == 1:
            listed = f"its part {parts[0]!r}"
        else:
            listed = f"one of its parts {', '.join(map(repr, parts))}" if parts else "a part of it"
        heads = ". Several heads need a likelihood each, as in BayesianNetwork(net, {…}) and then likelihood=model.likelihood"
        raise InputError(
            f"the network's output is a {type(output).__name__}; it must be one tensor. Choose {listed}, as in "
            f"BayesianNetwork(net, output={example}), or likelihood=Selected({example}) with a plain network; or switch off "
            f"what gives more, such as auxiliary heads (aux_logits=False){heads if isinstance(output, Mapping) else ''}",
            name="output",
            value=type(output).__name__,
            allowed="one tensor",
        ) from error
    if not isinstance(found, Distribution):
        raise InputError(
            f"the likelihood gives a {type(found).__name__}; it must give a distribution of torch or Pyro",
            name="likelihood",
            value=found,
            allowed="a map from an output to a distribution of torch or Pyro",
        )
    return found


def joined(parts: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Concatenate the outputs of consecutive batches of these sizes along their examples, in their form.

    In a tuple, mapping or dataclass, what does not have one entry per example, such as a loss or a cache, becomes None.
    """
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    columns = zip(*([leaf for _, leaf in named_leaves(part)] for part in parts), strict=True)

    def column(_: object) -> Tensor | None:
        found = next(columns)
        whole = all(isinstance(leaf, Tensor) and leaf.shape[:1] == (n,) for leaf, n in zip(found, sizes, strict=True))
        return torch.cat(found) if whole else None

    return map_leaves(column, parts[0])


def _parts(output: Any) -> list[Any]:
    """The keys, attributes or indices of an output that is no tensor."""
    if isinstance(output, Mapping):
        return list(output)
    if hasattr(output, "_fields"):
        return list(output._fields)
    if isinstance(output, tuple | list):
        return list(range(len(output)))
    return [field.name for field in dataclasses.fields(output)] if dataclasses.is_dataclass(output) else []


def _described(output: Any) -> str:
    parts = ", ".join(map(repr, _parts(output)))
    return f"a {type(output).__name__}{f' with the parts {parts}' if parts else ''}"
