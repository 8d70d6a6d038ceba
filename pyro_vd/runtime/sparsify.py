"""A pruned multilayer perceptron run as sparse matrices where that is faster."""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pyro_vd._core.arguments import LARGEST, check_numbers
from pyro_vd._core.errors import InputError
from pyro_vd.networks.checks import check_module
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.layers import as_matrix
from pyro_vd.networks.modules import SelectInputs
from pyro_vd.runtime.csr import CSRLinear, CSRNetwork, linear_steps
from pyro_vd.runtime.inputs import check_input

_SECONDS, _ROUNDS = 0.05, (10, 200)
"""The approximate length of a measurement in seconds, and the limits of the number of its rounds."""

_GAIN = 0.95
"""A sparse form is chosen if it takes less than this share of the dense form's time: measurements vary by a few percent."""


@torch.no_grad()
def sparsify_runtime(net: nn.Module, batch_sizes: Sequence[int] = (1, 64, 1024)) -> SparseRuntime:
    """Make a pruned network fast for inference, with layers as compressed sparse rows (CSR) where that is faster.

    That depends on the size and density of a layer, the batch, the machine and the number of threads, so both forms are timed
    when this function is called. Compact the network first: ``sparsify_runtime(compact(net))``.

    Args:
        net: an ``nn.Sequential`` of linear layers with activations between, and flattening and a selection of inputs in front;
            it is copied. It takes ``(…, features)``, or any ``(batch, …)`` if it flattens.
        batch_sizes: the sizes to measure at; a batch of another size is run like the nearest of these, by ratio.

    Returns:
        A network that computes the same, for running only: to save it, save ``net``. It also holds a copy of ``net``, whose
        weights are counted where its size is measured.

    Raises:
        InputError: the network has any other module, or a batch size is below 1. The returned module raises it for inputs whose
            number of features, type or device does not fit the network.
    """
    check_module("net", net)
    sizes = sorted(set(check_numbers("batch_sizes", batch_sizes, low=1, high=LARGEST)))
    if not sizes:
        raise InputError(name="batch_sizes", value=batch_sizes, allowed="a list of at least one size")
    limits = [math.sqrt(low * high) for low, high in pairwise(sizes)]
    dense = copy_network(net).eval().requires_grad_(False)
    return SparseRuntime(dense, [_fastest(dense, size) for size in sizes], limits)


class SparseRuntime(nn.Module):
    """A network with one form for each range of batch sizes, separated by ``limits``; see :func:`sparsify_runtime`."""

    def __init__(self, net: nn.Module, forms: Sequence[nn.Module], limits: Sequence[float]) -> None:
        super().__init__()
        self.net = net  # not run by itself; its weights are counted where the size is measured
        self.forms: nn.ModuleList = nn.ModuleList(forms)
        self.limits: tuple[float, ...] = tuple(limits)
        self._calls = tuple(form.forward for form in forms)  # faster to look up and to call than modules
        self._flattens = any(isinstance(module, nn.Flatten) for module in net.modules())
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        try:
            batch = len(x) if self._flattens else x.shape[:-1].numel()
            result: Tensor = self._calls[bisect_left(self.limits, batch)](x)
        except (RuntimeError, IndexError, AttributeError, TypeError):
            check_input(x, *linear_steps(self.net))
            raise
        return result

    def extra_repr(self) -> str:
        return ", ".join(f"({index}) up to a batch of {limit:.0f}" for index, limit in enumerate(self.limits))


def _fastest(dense: nn.Module, batch_size: int) -> nn.Module:
    """The network itself, or a :class:`CSRNetwork` with each layer dense or CSR, whichever is fastest at a batch size."""
    _, steps = linear_steps(dense)
    selected = next((step.in_features for step in steps if isinstance(step, SelectInputs)), None)
    layers = [matrix for step in steps if (matrix := as_matrix(step)) is not None]
    sparse = []
    for index, (weight, bias) in enumerate(layers):
        features = weight.shape[1]
        h = weight.new_ones(features, batch_size)
        if index == 0 and selected is None:
            h = weight.new_ones(batch_size, features).t()  # transposed, as in the network
        as_dense, as_csr = _seconds(h, *(CSRLinear(weight, bias, csr).product() for csr in (False, True)))
        sparse.append(as_csr < as_dense)
    candidate = CSRNetwork(dense, sparse)
    before, after = _seconds(h.new_ones(batch_size, selected or layers[0][0].shape[1]), dense, candidate)
    return candidate if after < _GAIN * before else dense


def _seconds(x: Tensor, *functions: Callable[[Tensor], Tensor]) -> list[float]:
    """The shortest time of each function of ``x``. They take turns; the shortest counts, as other load can only add to it."""
    times = [math.inf for _ in functions]
    started, (least, most) = time.perf_counter(), _ROUNDS
    for round_ in range(most):
        for index, function in enumerate(functions):
            start = time.perf_counter()
            function(x)
            if x.is_cuda:
                torch.cuda.synchronize()
            times[index] = min(times[index], time.perf_counter() - start)
        if round_ >= least and time.perf_counter() - started > _SECONDS:
            break
    return times
