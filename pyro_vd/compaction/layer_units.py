"""The inputs and units of a network's layers that are left, by their indices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import cast

from torch import Tensor, nn

from pyro_vd._core.shown import Row, Shown, as_plain
from pyro_vd.compaction.plan import ShrinkPlan
from pyro_vd.networks.layers import named_layers, weight_name


@dataclass(frozen=True)
class LayerUnits:
    """What is left of the inputs and units of a layer; indices rise, and count from 0 in the whole layer.

    Inputs of an embedding are its rows, and inputs and units of a convolution are channels. Of ids whose rows are equal, as
    those of removed words are, the first one stands for all.

    Attributes:
        kind: the class of the layer, such as ``"Linear"``.
        inputs: the indices of the inputs that are left.
        units: the indices of the units that are left.
        all_inputs: how many inputs there were.
        all_units: how many units there were.
    """

    kind: str
    inputs: tuple[int, ...]
    units: tuple[int, ...]
    all_inputs: int
    all_units: int

    def __repr__(self) -> str:
        inputs, units = f"{len(self.inputs):,} of {self.all_inputs:,}", f"{len(self.units):,} of {self.all_units:,}"
        return f"LayerUnits({self.kind}: {inputs} inputs, {units} units)"


class SurvivingUnits(Shown, dict[str, LayerUnits]):
    """What is left of the layers of a network, by path, in the order of execution."""

    def __repr__(self) -> str:
        return f"SurvivingUnits({dict.__repr__(self)})"

    def _rows(self) -> Sequence[Row]:
        return [{"layer": path, **as_plain(layer)} for path, layer in self.items()]


def layer_units(net: nn.Module, plan: ShrinkPlan) -> SurvivingUnits:
    """Read from a plan for a network what is left of its layers, by path, in the order of execution.

    A recurrent layer has one entry for each of its layers and directions, such as ``"lstm.l0"``.
    """
    return SurvivingUnits(_layer_units(net, plan))


def _layer_units(net: nn.Module, plan: ShrinkPlan) -> Iterator[tuple[str, LayerUnits]]:
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    for path, layer, kind in named_layers(net):
        for part, places in kind.unit_places(layer).items():
            weights = [cast(Tensor, attrgetter(name)(layer)) for name, _ in places]
            sizes = [weight.shape[dim] for weight, (_, dim) in zip(weights, places, strict=True)] if part else kind.units(layer)
            left = []
            for weight, (name, dim), size in zip(weights, places, sizes, strict=True):
                found = plan.tensor(names.get(id(weight), weight_name(path, name)))
                kept = None if found is None else found.kept[dim]
                left.append(tuple(range(size)) if kept is None else kept)
            yield weight_name(path, part) if part else path, LayerUnits(type(layer).__name__, left[0], left[1], *sizes)


def unit_counts(units: Mapping[str, LayerUnits]) -> list[int]:
    """Count the inputs of the first layer and the units of every layer but the last, as in 97-71-33 of the literature.

    Args:
        units: what :func:`~pyro_vd.surviving_units` returns.
    """
    layers = list(units.values())
    return [len(layers[0].inputs), *(len(layer.units) for layer in layers[:-1])] if layers else []
