"""How much of networks of others compaction removes, and whether they stay the same function.

Run ``python benchmarks/compaction.py``. Each network of ``benchmarks/zoo.py`` has 40 % of the units of its layers, the last one
apart, and 30 % of its other weights set to zero. The columns:

left        share of the parameters that are left
removable   share of the units left that could go: all that makes them is zero, or nobody reads them, and no rule needs them
difference  largest difference of the outputs, relative to the largest output
anchor      Torch-Pruning, whose dependency graph removes the same zero rows, with all that depends on them
"""

from __future__ import annotations

import argparse
import copy
import signal
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from removable import removable_share
from stages import parameters
from torch import Tensor, nn
from zeroed import output_dimension, zero_at_random
from zoo import Specimen, specimens

from pyro_vd.compaction.compacting import compacted
from pyro_vd.networks.inputs import in_float64, run, tensors_in
from pyro_vd.workflow.tables import print_table

PATIENCE = 60
"""Seconds after which Torch-Pruning, whose search may not end, counts as refusing a network."""


@dataclass(frozen=True)
class Row:
    """What the table says of a network; ``anchor`` is the share and the difference of Torch-Pruning, None where it raises."""

    name: str
    parameters: int
    left: float
    removable: float
    difference: float
    difference_64: float
    seconds: float
    messages: tuple[str, ...]
    anchor: tuple[float, float] | None = None


def measure(specimen: Specimen, with_anchor: bool = False) -> Row:
    """Measure one network of the list."""
    net, (x, _) = zero_at_random(varied(specimen.seeded())).eval(), specimen.seeded_batch(4)
    start = time.perf_counter()
    found = compacted(net, x)
    seconds = time.perf_counter() - start
    wide, wide_x = copy.deepcopy(net).double(), in_float64(x)
    small = compacted(wide, wide_x).net
    return Row(
        specimen.name,
        parameters(net),
        parameters(found.net) / parameters(net),
        removable_share(small, wide_x),
        difference(found.net, net, x),
        difference(small, wide, wide_x),
        seconds,
        found.plan.messages,
        anchor(net, x) if with_anchor else None,
    )


@torch.no_grad()
def varied(net: nn.Module) -> nn.Module:
    """Give biases, and weights of a last layer that begins at zero, random values, as a training does; return the network."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in net.named_parameters():
        if name.endswith("bias") or not bool(parameter.any()):
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


@torch.no_grad()
def difference(small: nn.Module, net: nn.Module, x: Any) -> float:
    """The largest difference of the outputs of two networks, relative to the largest output."""
    pairs = zip(_outputs(small, x), _outputs(net, x), strict=True)
    return max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)


def anchor(net: nn.Module, x: Any) -> tuple[float, float] | None:
    """Share of the parameters left and difference after Torch-Pruning has removed the zero rows of each layer in turn."""
    import torch_pruning as tp

    def late(*_: object) -> None:
        raise TimeoutError

    pruned = copy.deepcopy(net)
    signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = tp.DependencyGraph().build_dependency(pruned, example_inputs=x)
            for module in pruned.modules():
                if isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and not isinstance(module, nn.LazyLinear):
                    rows = module.weight.flatten(1).any(1) if output_dimension(module) == 0 else module.weight.any(0)
                    zero = (~rows).nonzero().flatten().tolist()
                    remove = tp.prune_linear_out_channels if isinstance(module, nn.Linear) else tp.prune_conv_out_channels
                    if zero:
                        group = graph.get_pruning_group(module, remove, idxs=zero)
                        if graph.check_pruning_group(group):
                            group.prune()
            return parameters(pruned) / parameters(net), difference(pruned, net, x)
    except Exception:  # whatever it raises, it does not give a network
        return None
    finally:
        signal.alarm(0)


def _outputs(net: nn.Module, x: Any) -> list[Tensor]:
    return list(tensors_in(run(net, x)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of names of networks; all of them without any")
    names = parser.parse_args(arguments).names
    rows = [measure(specimen, with_anchor=True) for specimen in specimens(*names)]
    header = ["network", "parameters", "left", "removable", "float32", "float64", "seconds", "anchor: left", "difference"]
    print_table("Compaction of networks of others", header, [cells(row) for row in rows])
    for row in rows:
        for message in row.messages:
            print(f"{row.name}: {message}")


def cells(row: Row) -> list[str]:
    """The cells of a row."""
    share, differs = ("refused", "") if row.anchor is None else (f"{row.anchor[0]:.1%}", f"{row.anchor[1]:.0e}")
    return [
        *(row.name, f"{row.parameters:,}", f"{row.left:.1%}", f"{row.removable:.1%}"),
        *(f"{row.difference:.0e}", f"{row.difference_64:.0e}", f"{row.seconds:.1f}", share, differs),
    ]


if __name__ == "__main__":
    main()
