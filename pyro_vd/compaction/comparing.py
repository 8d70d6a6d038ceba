"""The comparison of smaller networks with the whole one: both are run on the same batches."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.compaction.applying import applied
from pyro_vd.compaction.exported import Exported, NotExportedError
from pyro_vd.compaction.plan import ShrinkPlan
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.inputs import Inputs, in_float64, map_tensors, num_examples, rows, run_apart, tensors_in

_MOST_WIDE = 30_000_000
"""Networks with more parameters, and those that cannot run in float64, are verified in their own precision."""

_LONGER = 4
"""The place of the longer batch in :func:`_batches`."""


@dataclass(frozen=True)
class Failure:
    """A smaller network with other outputs, or the class of the module that raised an error in it.

    Attributes:
        small: the network.
        raised_in: the class of the module.
        wide: whether it runs in float64.
        when_longer: whether only longer sequences have other outputs.
    """

    small: nn.Module
    raised_in: type[nn.Module] | None
    wide: bool
    when_longer: bool

    def graph(self, example: Inputs) -> Exported | None:
        """The graph of the smaller network; None where it has none."""
        try:
            return Exported(self.small, in_float64(example) if self.wide else example) if self.raised_in is None else None
        except (NotExportedError, InputError):
            return None


class Comparison:
    """The comparison of smaller networks with the whole one."""

    def __init__(self, whole: nn.Module, example: Inputs) -> None:
        self._wide = sum(parameter.numel() for parameter in whole.parameters()) <= _MOST_WIDE
        try:
            self._take(whole, example)
        except Exception:
            if not self._wide:
                raise
            self._wide = False  # its forward pass may convert numbers to float32
            self._take(whole, example)

    def _take(self, whole: nn.Module, example: Inputs) -> None:
        """Run the whole network on batches of several kinds."""
        self._whole = self._copied(whole)
        self._cases: list[tuple[Any, list[Tensor]]] = []
        batches = _batches(in_float64(example) if self._wide else example)
        self._longer = -1
        for number, x in enumerate(batches):
            try:
                self._cases.append((x, _outputs(self._whole, x)))
                self._longer = len(self._cases) - 1 if number == _LONGER else -1
            except Exception:  # the network may take batches of one size only
                if not number:
                    raise

    def failure(self, plan: ShrinkPlan) -> Failure | None:
        """Where the network that a plan makes gives other outputs; None where it gives the same ones."""
        small = applied(self._copied(self._whole), plan)
        in_float32 = any(norm.eps is not None for norm in plan.norms)  # others write their own where they need float32
        tolerance = (1e-5 if in_float32 else 1e-7) if self._wide else 1e-3
        for number, (x, wanted) in enumerate(self._cases):
            try:
                found = _outputs(small, x)
            except Exception as error:  # a forward of the user's own can raise anything
                return Failure(small, _raised_in(small, error), self._wide, number == self._longer)
            for one, other in zip_longest(found, wanted):
                if one is None or other is None or not _close(one, other, tolerance):
                    return Failure(small, None, self._wide, number == self._longer)
        return None

    def _copied(self, net: nn.Module) -> nn.Module:
        copied = copy_network(net)
        return copied.double() if self._wide else copied


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    if other.dtype == torch.bool:
        return torch.equal(one, other)
    finite = other[other.isfinite()]
    scale = 1 + (float(finite.abs().max()) if finite.numel() else 0.0)
    return one.shape == other.shape and torch.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _raised_in(net: nn.Module, error: Exception) -> type[nn.Module]:
    """The class of the innermost module, not a layer of PyTorch, in whose forward pass an error came up."""
    kinds = {
        id(module): type(module)
        for module in net.modules()
        if isinstance(module, nn.Transformer) or not type(module).__module__.startswith("torch.nn.")
    }
    owners = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((kinds[id(owner)] for owner in reversed(owners) if id(owner) in kinds), type(net))


def _batches(x: Any) -> list[Any]:
    """The example, random numbers of its shape, more and fewer rows of it, and three times as many steps, if it has any.

    The graph has as many steps as the example; what longer sequences depend on may not be in it.
    """
    generator = torch.Generator().manual_seed(0)

    def random(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor.flip(0)
        return torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)

    found = [x, map_tensors(random, x)]
    try:
        n = num_examples(x)
    except InputError:
        return found
    return [*found, rows(x, slice(0, 1)), rows(x, [*range(n), *range(n), 0]), longer(x)]


def longer(x: Any) -> Any:
    """Inputs of three times the size in dimension 1, which holds the steps of a sequence in a batch."""
    return map_tensors(lambda tensor: torch.cat([tensor] * 3, 1) if tensor.ndim > 1 else tensor, x)


def _outputs(net: nn.Module, x: Any) -> list[Tensor]:
    """The tensors that a network returns; random numbers are the same ones at every call."""
    with torch.no_grad(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(0)  # of all devices
        found = run_apart(net, x)
        leaves = found if isinstance(found, Tensor | tuple | list | dict) else torch.utils._pytree.tree_leaves(found)
        return list(tensors_in(leaves))
