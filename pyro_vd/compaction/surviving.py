"""What is left of a network when the units that do not matter are taken away."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pyro_vd.compaction.compacting import compact
from pyro_vd.networks.checks import check_example
from pyro_vd.networks.flops import network_cost
from pyro_vd.networks.layers import widths


@dataclass(frozen=True)
class CompactSize:
    """Of the compact network: units as of :func:`surviving_units`, all parameters, and floating-point operations per example.

    Those are the multiplications and additions of its products of matrices and its convolutions; see
    :class:`~pyro_vd.networks.flops.NetworkCost`.
    """

    units: str
    parameters: int
    flops: int


def surviving_units(net: nn.Module, example: Tensor | None = None) -> str:
    """Inputs (or channels) that are read and units (or filters) of each hidden layer that matter, such as ``"97-71-33"``.

    Those of the compact network; arguments and errors are those of :func:`~pyro_vd.compact`.
    """
    return _units(compact(net, example))


def _units(small: nn.Module) -> str:
    return "-".join(map(str, widths(small)[:-1]))


def compact_size(net: nn.Module, example: Tensor) -> CompactSize:
    """What is left of a network; arguments and errors are those of :func:`~pyro_vd.compact`."""
    example = check_example(net, example)
    small = compact(net, example)
    cost = network_cost(small, example[:1])
    return CompactSize(_units(small), cost.parameters, cost.flops)
