"""The inputs and units that a network keeps, and its size without the units that do not matter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd.compaction.compacting import compact, told
from pyro_vd.compaction.front import default_example
from pyro_vd.compaction.layer_units import SurvivingUnits, layer_units
from pyro_vd.networks.checks import check_inputs_of
from pyro_vd.networks.flops import network_cost
from pyro_vd.networks.inputs import Inputs, rows, shapes_of
from pyro_vd.networks.layers import named_weights
from pyro_vd.networks.modules import SelectInputs


@dataclass(frozen=True)
class CompactSize:
    """The size of a compact network.

    Attributes:
        units: the result of :func:`surviving_units`.
        parameters: the number of all parameters.
        flops: floating-point operations per example, as :class:`~pyro_vd.networks.flops.NetworkCost` counts them.
    """

    units: SurvivingUnits
    parameters: int
    flops: int


def surviving_units(net: nn.Module, example: Inputs | None = None) -> SurvivingUnits:
    """Find the inputs and units (or channels) of each layer that the compact network keeps.

    Returns:
        What is left, with the indices, by path of the layer, in the order of execution. Of a compact network, all is left:
        the indices are those of the network that is given.

    Args and errors: see :func:`~pyro_vd.compact`.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from pyro_vd import surviving_units
        >>> net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
        >>> with torch.no_grad():
        ...     _ = net[2].weight[:, 2:].zero_()  # nothing reads three of the five units
        >>> surviving_units(net)["0"].units, surviving_units(net)["2"].inputs
        ((0, 1), (0, 1))
    """
    return layer_units(net, told(net, example).plan)


def surviving_features(net: nn.Module, features: Sequence[str], example: Inputs | None = None) -> tuple[str, ...]:
    """Name the inputs that the output of a network depends on, as far as its non-zero weights tell.

    Args:
        net: a network of inputs ``(n, features)``, pruned or already compact.
        features: their names, such as :attr:`Dataset.features`.
        example: see :func:`~pyro_vd.compact`.

    Raises:
        InputError: see :func:`~pyro_vd.compact`; or there are more or fewer names than inputs.
    """
    batch = check_inputs_of(net, default_example(net) if example is None else example)
    shape = shapes_of(rows(batch, 0))
    if shape != (len(features),):
        allowed = f"one name for each input; those of the example have the shape {shape}"
        raise InputError(name="features", value=list(features), allowed=allowed)
    small = compact(net, batch)
    front = next((module for module in small.children() if not isinstance(module, nn.Flatten)), small)
    kept = front.index.tolist() if isinstance(front, SelectInputs) else list(range(len(features)))
    if len(kept) == 1 and not any(bool(weight.any()) for _, weight in islice(named_weights(small), 1)):
        return ()  # one input stays where none is read
    return tuple(features[index] for index in kept)


def surviving_words(net: nn.Module, words: Sequence[str]) -> tuple[str, ...]:
    """Name the words that a network reads: those whose row in an embedding of the words has a weight that is not zero.

    Args:
        net: a pruned network, before it is made compact.
        words: the word of each row, such as :attr:`Dataset.words`; further rows of an embedding have none.
    """
    kept = torch.zeros(len(words), dtype=torch.bool)
    for module in net.modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and module.num_embeddings >= len(words):
            kept |= module.weight.detach().any(1)[: len(words)].cpu()
    return tuple(word for word, is_kept in zip(words, kept.tolist(), strict=True) if is_kept)


def compact_size(net: nn.Module, example: Inputs) -> CompactSize:
    """Measure the compact network. Args and errors: see :func:`~pyro_vd.compact`."""
    example = check_inputs_of(net, example)
    found = told(net, example)
    cost = network_cost(found.net, rows(example, slice(1)))
    return CompactSize(layer_units(net, found.plan), cost.parameters, cost.flops)
