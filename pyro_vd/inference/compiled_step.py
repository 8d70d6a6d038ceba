"""A training step as one compiled graph, which takes the noise as an input: the same step as the ELBO's own, up to rounding."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generators_kept
from pyro_vd._core.messages import one_line
from pyro_vd._core.threads import alone
from pyro_vd.inference.recorded_step import buffers_kept, record
from pyro_vd.networks.inputs import device_of, named_tensors, tensors_in

if TYPE_CHECKING:
    from pyro_vd.inference.elbo import VariationalDropoutELBO

Signature = tuple[tuple[str, torch.Size, torch.dtype], ...]
_NEW_LAYOUT = "layout_optimization"  # of convolutions, which made a step of LeNet-5 slower: 2.07 of deterministic, 1.79 without


def signature(x: Any, y: Any) -> Signature:
    """Return what compiled code depends on: names, shapes and types of the tensors of a batch."""
    return tuple((name, tensor.shape, tensor.dtype) for name, tensor in named_tensors((x, y)))


class CompiledStep:
    """The gradients of the loss for batches of one shape, by compiled code; on a GPU it is replayed as one CUDA graph.

    The forward pass, the likelihood, the KL and all gradients are recorded once as tensor operations, and compiled. The noise
    is drawn outside, by the functions that draw it in an uncompiled step and in the same order, so that it has the same
    numbers. The settings of the objective but β, the modes of modules, and what the network's Python code does are part of the
    compiled code.

    Args:
        elbo: the objective.
        model: a Bayesian network.
        guide: its guide.
        x: inputs of a batch.
        y: observations of it.
        adds_up: whether gradients of several batches are added up, so that those of the first must outlive the next call.

    Attributes:
        signature: that of the batches that it takes.
        seconds: how long it took to record and to compile the step.

    Raises:
        InputError: the network, the likelihood or the guide does what a graph would not repeat, or a parameter has hooks.
    """

    def __init__(
        self, elbo: VariationalDropoutELBO, model: Any, guide: nn.Module, x: Any, y: Any, adds_up: bool = False
    ) -> None:
        started = time.perf_counter()
        self.signature: Signature = signature(x, y)
        self._elbo = elbo
        self._parameters = _trained(model, guide)
        self._device = device_of((x, y))
        self._copies = adds_up and self._device.type == "cuda"
        with alone():
            _watch(elbo, model, guide, self._parameters, x, y)
            self._step = record(elbo, model, guide, self._parameters, x, y)
        options: dict[str, Any] = {"triton.cudagraphs": True} if self._device.type == "cuda" else {_NEW_LAYOUT: False}
        self._compiled: Callable[..., Any] = torch.compile(self._step.graph, fullgraph=True, dynamic=False, options=options)
        self._kl_weight = torch.zeros((), dtype=self._parameters[0].dtype, device=self._device)
        with generators_kept(self._device), buffers_kept(model, guide):
            try:
                self._run(x, y)
            except Exception as error:  # whatever the compiler raises
                raise InputError(
                    f"compile=True: torch.compile fails: {one_line(error)[:300]}. Train with compile=False",
                    name="compile",
                    value=True,
                    allowed="False",
                ) from error
        self.seconds: float = time.perf_counter() - started

    def _run(self, x: Any, y: Any) -> tuple[Tensor, Sequence[Tensor | None]]:
        """Return the terms and the gradients, which the next run overwrites on a GPU."""
        noise = [draw() for draw in self._step.draws]
        if self._device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad():
            terms, gradients = self._compiled(self._kl_weight, *tensors_in((x, y)), *noise)
        return terms.clone(), gradients

    def backward(self, x: Any, y: Any, share: float = 1.0) -> Tensor:
        """Do as the ELBO's ``backward``: add ``share`` times the gradients to those of the parameters, and return the loss."""
        elbo, step = self._elbo, self._step
        self._kl_weight.fill_(elbo.kl_weight)
        terms, gradients = self._run(x, y)
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            if gradient is None:
                continue
            if parameter.grad is not None:
                parameter.grad.add_(gradient, alpha=share)
            else:
                parameter.grad = gradient * share if share != 1 or self._copies else gradient
        loss, elbo.data_term, elbo.kl, *by_site = terms.unbind()
        elbo.site_kl = dict(zip(step.sites, by_site, strict=True))
        elbo.closed_form = step.closed
        return loss


def _trained(model: nn.Module, guide: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained.

    Raises:
        InputError: one of them has hooks, which would see no gradient.
    """
    found: dict[int, nn.Parameter] = {}
    for name, parameter in (*model.named_parameters(), *guide.named_parameters()):
        hooks: Any = parameter._backward_hooks, parameter._post_accumulate_grad_hooks
        if any(hooks):
            raise InputError(
                f"compile=True: the parameter {name!r} has hooks, which compiled code would not call. Train with compile=False",
                name="compile",
                value=True,
                allowed="False",
            )
        if parameter.requires_grad:
            found[id(parameter)] = parameter
    return list(found.values())


def _watch(elbo: VariationalDropoutELBO, model: Any, guide: nn.Module, parameters: list[nn.Parameter], x: Any, y: Any) -> None:
    """Take passes whose results are thrown away until the model knows how its weights are used, and which have a gradient."""
    with generators_kept(device_of((x, y))), buffers_kept(model, guide):
        is_watched = False
        while not is_watched:
            torch.autograd.grad(elbo.differentiable_loss(model, guide, x, y), parameters, allow_unused=True)
            is_watched = not model.gradient_watch.is_waiting
