"""From a pruned network to its :class:`~.plan.ShrinkPlan`, in four passes over its graph.

place           find the units that each tensor holds, and the modules that make them (:mod:`.placement`)
fold constants  find the units that have the same value for every input (:mod:`.constants`)
liveness        go back from the output and mark the units that it depends on (:mod:`.liveness`)
plan            list what is kept of each tensor, and what is added to biases (:func:`shrink_plan`)

A network with three hidden units shows them at work. Unit 0 computes something. Unit 1 has no weights left, so it is always
relu(2) = 2. Unit 2 is read by nobody.

>>> import torch
>>> from torch import nn
>>> from pyro_vd.compaction import apply_plan
>>> net = nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 1))
>>> _ = net.load_state_dict({
...     "0.weight": torch.tensor([[1.0], [0.0], [4.0]]), "0.bias": torch.tensor([0.0, 2.0, 1.0]),
...     "2.weight": torch.tensor([[3.0, 5.0, 0.0]]), "2.bias": torch.tensor([1.0]),
... })
>>> plan = shrink_plan(net)

*place* finds one space of three units: "0" makes them, the activation passes on each by itself, "2" reads them. *fold
constants* finds that unit 1 is 2 for every input, so that it contributes 5 · 2 = 10 to "2". *liveness* starts from the output,
which depends on unit 0 alone: the weight of unit 1 is replaced by the 10, and that of unit 2 is zero. So *plan* keeps unit 0 of
each tensor, and adds 10 to a bias:

>>> plan.kept("0.weight"), plan.kept("2.weight")
({0: tensor([0])}, {1: tensor([0])})
>>> plan.tensor("2.bias").added
(10.0,)
>>> {name: tensor.tolist() for name, tensor in apply_plan(net, plan).state_dict().items()}
{'0.weight': [[1.0]], '0.bias': [0.0], '2.weight': [[3.0]], '2.bias': [11.0]}
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.threads import alone
from pyro_vd.compaction.applying import prepared
from pyro_vd.compaction.constants import fold_constants
from pyro_vd.compaction.front import behind_selection, default_example, inputs_of
from pyro_vd.compaction.liveness import mark_live
from pyro_vd.compaction.placement import Placement, place
from pyro_vd.compaction.plan import ShrinkPlan
from pyro_vd.networks.checks import check_example, check_module
from pyro_vd.networks.modules import SelectInputs
from pyro_vd.networks.tracing import Trace


@torch.no_grad()
@alone()
def shrink_plan(net: nn.Module, example: Tensor | None = None) -> ShrinkPlan:
    """Find the units and inputs of a network that can be removed, by the weights that are exactly zero; nothing is changed.

    :func:`~pyro_vd.compaction.apply_plan` then makes the smaller network, and :func:`~pyro_vd.compaction.shrink_tensor`
    shrinks tensors that are shaped like its parameters.

    Args:
        net, example: see :func:`~pyro_vd.compact`.

    Raises:
        InputError: tracing cannot follow the network, a parameter is not finite, or the example is missing or does not fit.
    """
    check_module("net", net)
    example = example if example is None else check_example(net, example)
    small = prepared(net)
    return plan_of(Trace(small), example)


def plan_of(trace: Trace, example: Tensor | None) -> ShrinkPlan:
    """The plan for a traced network in evaluation mode; see :func:`shrink_plan`."""
    example = default_example(trace) if example is None else example
    if example.ndim < 2:
        raise InputError(name="example", value=tuple(example.shape), allowed="of the shape of a batch, (n, …)")
    net, inputs = trace.net, inputs_of(trace, example)
    if isinstance(inputs, SelectInputs):
        selection, whole = inputs, trace
    else:
        front, selection = behind_selection(net, inputs, example.device)
        whole = Trace(front)
    placement = place(whole, whole.shapes(example))
    fold_constants(placement)
    mark_live(placement)
    paths = {module: path for path, module in net.named_modules()}
    parts = [part for part in placement.parts.values() if part.module in paths]
    tensors = tuple(plan for part in parts for plan in part.plan(paths[part.module]))
    kept, messages = _read_inputs(placement, selection)
    if isinstance(inputs, SelectInputs) or len(kept) == inputs.features:
        return ShrinkPlan(tensors, None, messages)
    return ShrinkPlan(tensors, replace(inputs, kept=kept), messages)


def _read_inputs(placement: Placement, selection: SelectInputs) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The inputs that a selection keeps, and the messages about the network."""
    messages = placement.messages
    kept: list[int] = []
    for units in (part.output for part in placement.parts.values() if part.module is selection):
        kept = units.kept.nonzero().flatten().tolist()
        if not units.live.any():
            messages.append("no input reaches the output: the network is a constant predictor")
    return tuple(kept), tuple(messages)
