"""A pruned network run as sparse matrices where that is faster."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from pyro_vd._core.arguments import LARGEST, check_numbers
from pyro_vd._core.errors import InputError
from pyro_vd.networks.checks import check_hooks, check_inputs_of, check_module, check_takes
from pyro_vd.networks.copies import copy_network
from pyro_vd.networks.inputs import Inputs, num_examples, rows
from pyro_vd.runtime.chain import fastest_chain
from pyro_vd.runtime.report import Choice, RuntimeReport
from pyro_vd.runtime.sites import sites, without_forms
from pyro_vd.runtime.sparse_runtime import ChainRuntime, SparseRuntime
from pyro_vd.runtime.substituting import fastest

BATCH_SIZES = (1, 16, 64, 256, 1024)
"""The batch sizes to measure at where nothing says which are used."""

logger: logging.Logger = logging.getLogger(__name__)


@torch.no_grad()
def sparsify_runtime(
    net: nn.Module, batch_sizes: Sequence[int] | None = None, *, example: Inputs | None = None
) -> SparseRuntime:
    """Make a pruned network fast for inference: layers compute with their non-zeros only where that is faster.

    Linear layers, convolutions with kernels of one position, embeddings and recurrent layers have sparse forms: compressed
    sparse rows (CSR), and for an embedding, the rows that are not all zero. What is faster depends on the size and density of a
    layer, the batch, the machine and the number of threads, so both forms of each layer are timed in one forward pass, with the
    input that the layer gets; and the whole network at the end, which stays dense where that is not faster. Compact the network
    first: ``sparsify_runtime(compact(net))``.

    Args:
        net: any network; it is copied. ``nn.Sequential`` of linear layers with activations between, and flattening and a
            selection of inputs in front, needs no example. It takes ``(…, features)``, or any ``(batch, …)`` if it flattens.
        batch_sizes: the sizes to measure at; a batch of another size is run like the nearest of these, by ratio. By default the
            number of examples in ``example``; :data:`BATCH_SIZES` without one.
        example: inputs, a tensor, a tuple or a mapping, whose examples are repeated as often as a batch size needs.

    Returns:
        A network that computes the same, for running only: to save it, save ``net``. It also holds a copy of ``net``, whose
        weights are counted where its size is measured. Its ``report``, and its ``repr``, say which forms were chosen and the
        times that decided, which hold for the number of threads that torch has now.

    Raises:
        InputError: there is no example, and the network has any other module than those above; the network cannot take the
            example, or has forward hooks; or a batch size is below 1.
    """
    check_module("net", net)
    check_hooks(net)
    x = None if example is None else check_inputs_of(net, example)
    if batch_sizes is None:
        batch_sizes = BATCH_SIZES if x is None else (num_examples(x, "example"),)
    sizes = sorted(set(check_numbers("batch_sizes", batch_sizes, low=1, high=LARGEST)))
    if not sizes:
        raise InputError(name="batch_sizes", value=batch_sizes, allowed="a list of at least one size")
    limits = [math.sqrt(low * high) for low, high in pairwise(sizes)]
    dense = copy_network(net).eval().requires_grad_(False)
    if x is None:
        chosen: list[Choice] = [fastest_chain(dense, size) for size in sizes]
        others = {}
    else:
        check_takes(dense, x)
        found = sites(dense)
        others = without_forms(dense, found)
        chosen = [fastest(dense, found, _examples(x, size), size) for size in sizes]
    forms, layers, networks = zip(*chosen, strict=True)
    report = RuntimeReport(tuple(layer for some in layers for layer in some), networks, others, torch.get_num_threads())
    logger.info("%s runs %s", type(net).__name__, report.summary())
    return (ChainRuntime if x is None else SparseRuntime)(dense, forms, limits, report)


def _examples(x: Inputs, count: int) -> Any:
    return rows(x, torch.arange(count) % num_examples(x))
