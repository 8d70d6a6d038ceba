"""What several batches have given, as if it had come from one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generator_state, set_generator_state
from pyro_vd.evaluation.draws import EACH, Draws
from pyro_vd.networks.inputs import map_leaves, named_leaves

_CPU = torch.device("cpu")


def with_same_draws(batches: Iterable[Any], net: object) -> Iterator[Any]:
    """Yield batches, each with the generators as they were at the first: all examples then share the draws of the weights.

    Args:
        batches: the batches.
        net: a network or a guide, on whose device it draws.
    """
    tensors = (*net.parameters(), *net.buffers()) if isinstance(net, nn.Module) else ()
    devices = {_CPU, *(tensor.device for tensor in tensors)}
    states: dict[torch.device, Tensor] = {}
    for batch in batches:
        states = states or {device: generator_state(device) for device in devices}
        for device, state in states.items():
            set_generator_state(device, state)
        yield batch


def gathered(name: str, parts: Sequence[Any]) -> Any:
    """Return the examples of consecutive batches in the form of one; what is not a tensor is that of the first batch.

    Raises:
        InputError: tensors of examples of different shapes.
    """
    if len(parts) == 1:
        return parts[0]
    columns = zip(*([leaf for _, leaf in named_leaves(part)] for part in parts), strict=True)
    return map_leaves(lambda _: _concatenated(name, next(columns), 0), parts[0])


def gathered_draws(name: str, parts: Sequence[Draws], has_draws: bool) -> Draws:
    """Return means over draws of the examples of consecutive batches; see :class:`~.draws.DrawMeans`.

    Args:
        name: what an error calls the data.
        parts: those of each batch.
        has_draws: whether tensors of which every draw is kept have the draws in their first dimension.

    Raises:
        InputError: see :func:`gathered`.
    """
    if len(parts) == 1:
        return parts[0]
    dims = {key: int(has_draws and key.startswith(EACH)) for key in parts[0]}
    return {key: _concatenated(name, [part[key] for part in parts], dim) for key, dim in dims.items()}


def by_label(means: Draws, y: Any) -> tuple[Draws, Any]:
    """Return the scores and observations of classes with a label per row, where each example has several, such as tokens.

    Batches of texts of different lengths can then be gathered. Anything else stays as it is.
    """
    labels = means.get("entropy")
    if labels is None or labels.ndim < 2 or not isinstance(y, Tensor):
        return means, y
    ndim = labels.ndim
    return {key: value.flatten(0, ndim - 1) for key, value in means.items()}, y.flatten(0, ndim - 1)


def _concatenated(name: str, parts: Sequence[Any], dim: int) -> Any:
    if not isinstance(parts[0], Tensor):
        return parts[0]
    shapes = [tuple(part.shape[dim + 1 :]) for part in parts]
    if len(set(shapes)) > 1:
        number = next(k for k, shape in enumerate(shapes) if shape != shapes[0])
        raise InputError(
            f"{name}, batch {number + 1}: examples of shape {shapes[number]}, those of batch 1 {shapes[0]}; they must agree to "
            "be put together",
            name=name,
            value=shapes[number],
            allowed=f"of shape {shapes[0]}",
        )
    return torch.cat(list(parts), dim)
