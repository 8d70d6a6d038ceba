"""A plan that is carried out and verified: the smaller network is run beside the whole one.

A plan can be wrong where a forward pass depends on the sizes of its layers in a way that the graph does not show. Then the
units at the operations that differ stay, and another plan is made; in the worst case nothing is removed.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, fx, nn

from pyro_vd._core.errors import InputError
from pyro_vd.compaction.applying import applied, prepared
from pyro_vd.compaction.exported import Exported, NotExportedError
from pyro_vd.compaction.front import default_example, selectable_input, selection_of
from pyro_vd.compaction.messages import messages_about
from pyro_vd.compaction.plan import ShrinkPlan
from pyro_vd.compaction.planning import Planning
from pyro_vd.compaction.rules import analyse
from pyro_vd.compaction.scaling import note_scales
from pyro_vd.compaction.suspects import suspects_of, values_around
from pyro_vd.networks.checks import check_inputs_of, check_module
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.inputs import Inputs, in_float64, map_tensors, num_examples, rows, run, tensors_in

_MOST_WIDE = 30_000_000
"""Networks with more parameters, and those that cannot run in float64, are verified in their own precision."""

_ATTEMPTS = 6
_LONGER = 4
"""The place of the longer batch in :func:`_batches`."""


@dataclass(frozen=True)
class Verified:
    """A plan, and the smaller network that it makes.

    Attributes:
        plan: the plan.
        net: the network.
        reason: why the network comes back whole, though something might go; None where it was followed.
    """

    plan: ShrinkPlan
    net: nn.Module
    reason: str | None = None


def verified(net: nn.Module, example: Inputs | None, lengthenings: int = 3) -> Verified:
    """The plan for a network, carried out.

    Where the smaller network is another function of longer sequences alone, the graph of a longer example is tried.

    Args:
        net, example: see :func:`~pyro_vd.compact`, also for errors.
        lengthenings: how often the example may be made longer.
    """
    check_module("net", net)
    example = None if example is None else check_inputs_of(net, example)
    whole = prepared(net)
    example = default_example(whole) if example is None else example
    if isinstance(example, Tensor) and example.ndim < 2:
        raise InputError(name="example", value=tuple(example.shape), allowed="of the shape of a batch, (n, …)")
    try:
        graph = Exported(whole, example)
    except NotExportedError as error:
        reason = f"{type(net).__name__} is left whole, as torch.export cannot follow it: {error}"
        return Verified(ShrinkPlan((), None, (reason,)), whole, reason)
    node = selectable_input(graph, example)
    analysis = analyse(graph, [] if node is None else [node])
    analysis.mark_live()
    planning, more, suspects = Planning(analysis, node), [], set[fx.Node]()
    selection = None if node is None else selection_of(analysis, node)
    if node is not None and selection is None:
        more.append(analysis.values[node].labels.flatten())
    check: _Check | None = None
    for _ in range(_ATTEMPTS):
        failures: list[_Failure] = []
        for plan in planning.plans(more, selection):
            changes = bool(plan.tensors) or plan.inputs is not None
            if changes and check is None:
                check = _Check(whole, example)
            failure = check.failure(plan) if changes and check is not None else None
            if failure is None:
                messages = messages_about(analysis, planning, plan, suspects)
                return Verified(replace(plan, messages=messages), applied(whole, plan))
            failures.append(failure)
        if lengthenings and all(each.when_longer for each in failures):
            return verified(net, longer(example), lengthenings - 1)
        failure = next((each for each in failures if each.raised_in is None), failures[0])
        smaller = failure.graph(example)
        if smaller is not None and note_scales(analysis, planning.counting, smaller):
            continue
        found = suspects_of(analysis, smaller, failure.raised_in, suspects)
        if not found:
            break
        suspects |= found
        more += [value.labels[value.labels >= 0] for node in found for value in values_around(analysis, node)]
    reason = f"{type(net).__name__} is left whole, as its forward pass depends on the sizes of its layers"
    return Verified(ShrinkPlan((), None, (reason,)), whole, reason)


@dataclass(frozen=True)
class _Failure:
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


class _Check:
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

    def failure(self, plan: ShrinkPlan) -> _Failure | None:
        """Where the network that a plan makes gives other outputs; None where it gives the same ones."""
        small = applied(self._copied(self._whole), plan)
        in_float32 = any(norm.eps is not None for norm in plan.norms)  # others write their own where they need float32
        tolerance = (1e-5 if in_float32 else 1e-7) if self._wide else 1e-3
        for number, (x, wanted) in enumerate(self._cases):
            try:
                found = _outputs(small, x)
            except Exception as error:  # a forward of the user's own can raise anything
                return _Failure(small, _raised_in(small, error), self._wide, number == self._longer)
            for one, other in zip_longest(found, wanted):
                if one is None or other is None or not _close(one, other, tolerance):
                    return _Failure(small, None, self._wide, number == self._longer)
        return None

    def _copied(self, net: nn.Module) -> nn.Module:
        copied = copy_network(net)
        return copied.double() if self._wide else copied


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    finite = other[other.isfinite()]
    scale = 1 + (float(finite.abs().max()) if finite.numel() else 0.0)
    return one.shape == other.shape and torch.allclose(one, other, rtol=tolerance, atol=tolerance * scale, equal_nan=True)


def _raised_in(net: nn.Module, error: Exception) -> type[nn.Module]:
    """The class of the innermost module, not one of PyTorch, in whose forward pass an error came up."""
    kinds = {id(module): type(module) for module in net.modules() if not type(module).__module__.startswith("torch.nn.")}
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
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = run(net, map_tensors(torch.clone, x))
        leaves = found if isinstance(found, Tensor | tuple | list | dict) else torch.utils._pytree.tree_leaves(found)
        return list(tensors_in(leaves))
