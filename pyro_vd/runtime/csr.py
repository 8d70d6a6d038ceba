"""A multilayer perceptron with weights as compressed sparse rows (CSR), and activations of shape ``(features, batch)``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.networks.checks import check_hooks
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.layers import as_matrix
from pyro_vd.networks.modules import SelectInputs, Standardize
from pyro_vd.networks.operations import ELEMENTWISE
from pyro_vd.runtime.csr_linear import CSRLinear, check_features
from pyro_vd.runtime.inputs import check_input, selects_channels

_BETWEEN = ELEMENTWISE | {Standardize}


class CSRNetwork(nn.Module):
    """A network run with CSR weights; its inputs and outputs are those of the network.

    Between the layers, activations are ``(features, batch)``, as the product ``CSR @ activations`` needs them.

    Args:
        net: see :func:`~pyro_vd.runtime.sparsify.sparsify_runtime`; it is copied.
        sparse: per linear layer, whether its weight is CSR; by default, all are.

    Raises:
        InputError: the network has any other module; or, when called, see :func:`~pyro_vd.runtime.inputs.check_input`.
    """

    def __init__(self, net: nn.Module, sparse: Sequence[bool] | None = None) -> None:
        super().__init__()
        self.flattens: bool
        self.flattens, steps = linear_steps(net)
        self._selects_channels = selects_channels(self.flattens, steps)
        chosen = iter([True] * len(steps) if sparse is None else sparse)
        self.steps: nn.ModuleList = nn.ModuleList(
            copy_network(step).eval() if (matrix := as_matrix(step)) is None else CSRLinear(*matrix, next(chosen))
            for step in steps
        )
        self._bind()

    def forward(self, x: Tensor) -> Tensor:
        try:
            if self._selects_channels and x.ndim != 2:
                raise IndexError("only the features of a matrix can be selected")
            h = (x.flatten(1) if self.flattens else x.reshape(-1, x.shape[-1])).t()
            for call in self._calls:
                h = call(h)
            return h.t() if self.flattens or x.ndim == 2 else h.t().reshape(*x.shape[:-1], len(h))
        except (RuntimeError, IndexError, AttributeError, TypeError, InputError):
            check_input(x, self.flattens, [*self.steps])
            raise

    def _bind(self) -> None:
        # Calling modules and finding their buffers takes longer than a small layer does: 104 against 63 µs for a pruned
        # 784-300-100-10 network at batch 64.
        self._calls: list[Callable[[Tensor], Tensor]] = []
        before = None
        for step in self.steps:
            if isinstance(step, CSRLinear):
                self._calls.append(step.product())
            elif isinstance(step, SelectInputs):
                self._calls.append(partial(_select, step.in_features, step.index))
            elif isinstance(step, Standardize):
                self._calls.append(partial(_standardize, step.mean[:, None], step.scale[:, None]))
            else:
                fresh = type(step) is nn.ReLU and isinstance(before, CSRLinear)  # nothing else holds its output
                self._calls.append(torch.relu_ if fresh else step.forward)
            before = step

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self._bind()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_calls"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._bind()


def _select(in_features: int, index: Tensor, h: Tensor) -> Tensor:
    """Select the inputs from ``(features, batch)``."""
    check_features(in_features, h)
    return h[index]  # faster than index_select for a transposed tensor


def _standardize(mean: Tensor, scale: Tensor, h: Tensor) -> Tensor:
    """Standardize inputs of ``(features, batch)``."""
    check_features(len(mean), h)
    return (h - mean) * scale


def linear_steps(net: nn.Module) -> tuple[bool, list[nn.Module]]:
    """Whether a network flattens its input, and its modules after that, in order."""
    check_hooks(net)
    flattens, steps = False, list[nn.Module]()
    for name, module in net.named_modules(remove_duplicate=False):
        if type(module) is nn.Sequential:
            continue
        if type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1) and not steps:
            flattens = True
        elif as_matrix(module) is not None or type(module) in _BETWEEN or (_is_selection(module) and not steps):
            steps.append(module)
        else:
            raise InputError(
                f"module {name!r} ({type(module).__name__}) cannot be run as sparse matrices; the network must be Sequential "
                "of, in this order, nn.Flatten, SelectInputs, Standardize, and linear layers with activations between; for any "
                "other network, give inputs too: sparsify_runtime(net, example=x)",
                name=name or "net",
                value=type(module).__name__,
            )
    if all(as_matrix(step) is None for step in steps):
        raise InputError(f"{type(net).__name__} has no linear layer; one is needed", name="net", value=type(net).__name__)
    return flattens, steps


def _is_selection(module: nn.Module) -> bool:
    return isinstance(module, SelectInputs) and module.dim in (-1, 1)
