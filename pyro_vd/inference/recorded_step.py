"""The tensor operations of a training step as one graph, in which noise is an input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyro
import torch
from torch import Tensor, nn

from pyro_vd._core.generators import generators_kept
from pyro_vd._core.patterns import by_pattern
from pyro_vd._core.recording import recording
from pyro_vd.distributions.closed_form import ClosedForm
from pyro_vd.inference.recording_checks import NumbersStay, RepeatableOnly, checked_recording, draws_apart
from pyro_vd.networks.inputs import device_of, map_tensors, tensors_in

if TYPE_CHECKING:
    from pyro_vd.inference.elbo import VariationalDropoutELBO

Draw = Callable[[], Tensor]


@dataclass(frozen=True)
class RecordedStep:
    """The graph of a step for batches of one shape.

    Attributes:
        graph: takes β, the tensors of the batch, and the noise; returns a vector of the loss, the data term, the KL and the KL
            by site, and the gradients of the parameters, None where there is none. Parameters and buffers are attributes of
            it, the very tensors of model and guide; it updates the buffers.
        draws: draw the noise of a step, one after another, as the step itself would.
        sites: the names of the KLs by site.
        closed: the sites whose gradient of the KL is in closed form.
    """

    graph: torch.fx.GraphModule
    draws: list[Draw]
    sites: list[str]
    closed: frozenset[str]


def record(
    elbo: VariationalDropoutELBO, model: Any, guide: nn.Module, parameters: Sequence[nn.Parameter], x: Any, y: Any
) -> RecordedStep:
    """Record one step, without changing parameters, buffers or generators.

    Args:
        elbo: the objective; its β is an input of the graph, all other settings are part of it.
        model: a Bayesian network that has run in its present mode, and whose :meth:`gradient_watch` has ended.
        guide: its guide.
        parameters: those whose gradients are computed.
        x: inputs of one batch.
        y: observations of it.

    Raises:
        InputError: a graph of the step would not do the same at every batch.
    """
    from torch._decomp import get_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    sites: list[str] = []
    closed: dict[str, ClosedForm] = {}

    def step(kl_weight: Tensor, *batch: Tensor) -> tuple[Tensor, list[Tensor | None]]:
        given = iter(batch)
        inputs, observations = map_tensors(lambda _: next(given), (x, y))
        with RepeatableOnly(), NumbersStay():
            terms, gradients = _gradients(elbo, model, guide, parameters, (inputs, observations), kl_weight, closed)
        sites.extend(terms)
        return torch.stack([value.to(kl_weight.dtype) for value in terms.values()]), gradients

    batch = list(tensors_in((x, y)))
    kl_weight = torch.ones((), device=device_of((x, y)), dtype=next(iter(parameters)).dtype)
    decompositions: Any = get_decompositions([torch.ops.aten.native_dropout])
    kept = buffers_kept(model, guide), generators_kept(kl_weight.device)
    parts = {"": model.net, "likelihood": model.likelihood, "guide": guide}
    with kept[0], kept[1], recording(), pyro.validation_enabled(False), checked_recording(parts):
        graph = make_fx(step, decompositions, tracing_mode="real")(kl_weight, *batch)
    return RecordedStep(graph, _take_out_draws(graph), sites[3:], frozenset(closed))


def _gradients(
    elbo: VariationalDropoutELBO,
    model: Any,
    guide: nn.Module,
    parameters: Sequence[nn.Parameter],
    batch: tuple[Any, Any],
    kl_weight: Tensor,
    closed: dict[str, ClosedForm],
) -> tuple[dict[str, Tensor], list[Tensor | None]]:
    """Return the terms by name, of which the first three are loss, data term and KL, and the gradients of ``parameters``."""
    data_term, particles = elbo._terms(model, guide, batch, {}, closed)
    factors = by_pattern("kl_weights", elbo.kl_weights, list(particles[0]))
    others = [{name: term for name, term in kl.items() if name not in closed} for kl in particles]
    objective = data_term + kl_weight * elbo.weighted_kl(others, factors) if any(others) else data_term
    leaves = [*parameters, *(each.variance for each in closed.values())]
    found = torch.autograd.grad(objective, leaves, allow_unused=True) if objective.requires_grad else [None] * len(leaves)
    gradient = {id(leaf): value for leaf, value in zip(leaves, found, strict=True)}
    with torch.no_grad():
        for name, each in closed.items():
            particles[0][name] = each.finish_recorded(gradient, kl_weight * factors.get(name, 1.0))
        total = elbo.weighted_kl(particles, factors)
        by_site = {name: term.detach() for name, term in particles[-1].items()}
        terms = {"": data_term + kl_weight * total, " data": data_term, " KL": total}
    return {**{name: term.detach() for name, term in terms.items()}, **by_site}, [gradient[id(each)] for each in parameters]


@contextmanager
def buffers_kept(*modules: nn.Module) -> Iterator[None]:
    """Restore all buffers at the end: the tensors, where others were assigned, and their values."""
    parts = [part for module in modules for part in module.modules()]
    held = [(part, name, buffer) for part in parts for name, buffer in part._buffers.items() if buffer is not None]
    values = [buffer.clone() for _, _, buffer in held]
    try:
        yield
    finally:
        with torch.no_grad():
            for (part, name, buffer), value in zip(held, values, strict=True):
                part._buffers[name] = buffer
                buffer.copy_(value)


def _take_out_draws(module: torch.fx.GraphModule) -> list[Draw]:
    """Make the noise an input of a graph, and return the functions that draw it, in the order of the graph."""
    graph, draws = module.graph, []
    last = [node for node in graph.nodes if node.op == "placeholder"][-1]
    for node in list(graph.nodes):
        if node.op != "call_function" or not draws_apart_in_graph(node):
            continue
        draws.append(_draw(node))
        with graph.inserting_after(last):
            last = graph.placeholder(f"noise_{len(draws)}")
        last.meta = dict(node.meta)
        if node.target._schema.is_mutable:  # the noise overwrites a tensor, or a part of one
            node.target, node.args, node.kwargs = torch.ops.aten.copy_.default, (node.args[0], last), {}
        else:
            node.replace_all_uses_with(last)
            graph.erase_node(node)
    graph.eliminate_dead_code()
    module.recompile()
    return draws


def draws_apart_in_graph(node: torch.fx.Node) -> bool:
    """Whether a node draws noise; all that does is drawn before the pass."""
    return isinstance(node.target, torch._ops.OpOverload) and draws_apart(node.target, node.args, node.kwargs)


def _draw(node: torch.fx.Node) -> Draw:
    """Return a function that draws what a node draws."""
    function: Any = node.target
    layouts = {each: each.meta["val"] for each in node.all_input_nodes}

    def empty(value: torch.fx.Node) -> Tensor:
        like = layouts[value]
        return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=like.device)

    def draw() -> Tensor:
        args, kwargs = torch.fx.node.map_arg((node_args, node_kwargs), empty)
        return function(*args, **kwargs)

    node_args, node_kwargs = node.args, dict(node.kwargs)
    return draw
