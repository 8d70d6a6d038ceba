"""How much of networks of others compaction removes, and whether they stay the same function: the page docs/compaction.md.

Run ``python benchmarks/compaction.py > docs/compaction.md``.
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
from stages import apart, parameters
from torch import Tensor, nn
from zeroed import output_dimension, zero_at_random
from zoo import Specimen, specimens

from pyro_vd.compaction.compacting import compacted
from pyro_vd.networks.inputs import in_float64, run, tensors_in

PAGE = """# Compaction of networks that others wrote

This page is what `python benchmarks/compaction.py` prints. Each network has random weights, of which 40 % of the units of all
layers but the last, and 30 % of the other weights, are set to zero; `compact` then makes it smaller.

- **left**: the share of the parameters that is left.
- **removable**: of the units that are left, the share that could go as well: all that makes them is zero, or nothing reads
  them, and no rule of the network needs them, such as equal widths of the layers of an `nn.LSTM`.
  This measure does not know the rule of ShuffleNet's shuffles, which need the same numbers of units at several places. The plan
  has the fewest that they allow, as `tests/compaction/test_compaction_shuffles.py` shows for small networks.
- **float32**, **float64**: the largest difference between the outputs of the two networks, relative to the largest output.
- **seconds**: the time of `compact` on one CPU thread.
- **Torch-Pruning**: its dependency graph removes the same zero rows with all that depends on them: the share of the parameters
  that is left, and the difference in float32. "refused" where it raises an error, or takes longer than a minute. Where the
  difference is large, what it returns is another function.
"""

COLUMNS = ("network", "parameters", "left", "removable", "float32", "float64", "seconds", "Torch-Pruning: left", "difference")

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
    return apart(zip(_outputs(small, x), _outputs(net, x), strict=True))


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
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of names of networks; all of them without any")
    names = parser.parse_args(arguments).names
    print(PAGE, f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}", sep="\n")
    messages = []
    for specimen in specimens(*names):
        row = measure(specimen, with_anchor=True)
        print(f"| {' | '.join(cells(row))} |", flush=True)
        messages += [f"- {row.name}: {message}" for message in row.messages]
    if messages:
        print("", "What compaction says of them:", "", *messages, sep="\n")


def cells(row: Row) -> list[str]:
    """The cells of a row."""
    share, differs = ("refused", "") if row.anchor is None else (f"{row.anchor[0]:.1%}", f"{row.anchor[1]:.0e}")
    return [
        *(row.name, f"{row.parameters:,}", f"{row.left:.1%}", f"{row.removable:.1%}"),
        *(f"{row.difference:.0e}", f"{row.difference_64:.0e}", f"{row.seconds:.1f}", share, differs),
    ]


if __name__ == "__main__":
    main()
