"""What is deployed of a compressed network: its file, its size, and what runs it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import nn

from pyro_vd._core.arguments import check_choice
from pyro_vd._core.errors import InputError
from pyro_vd._core.extras import check_installed
from pyro_vd.evaluation.deployed import deployed_size
from pyro_vd.export.formats import FORMATS
from pyro_vd.export.onnx_file import onnx_network
from pyro_vd.networks.flops import network_cost
from pyro_vd.networks.inputs import Inputs, num_examples, rows, run
from pyro_vd.runtime.sparsify import sparsify_runtime
from pyro_vd.runtime.timing import shortest_seconds

Deploy = Literal["onnx", "torch", "sparse"]
"""What is counted and saved: an ONNX file; the file of every weight of the compact network, for PyTorch; or that of its
non-zeros."""
RUNTIMES: Mapping[Deploy, str] = {"torch": "PyTorch", "sparse": "sparse runtime", "onnx": "ONNX Runtime"}
"""The names of what runs each."""
BATCH = 64
"""The number of examples in a batch whose latency is measured."""
_BYTES_OF_PLACE = 2.5
"""About the bytes of a weight in a sparse file beside its value: two of the column, and its share of the row's."""


@dataclass(frozen=True)
class Footprint:
    """The size of a network as it is deployed.

    Attributes:
        parameters: the number of numbers that are stored: for "sparse", those that are not zero.
        flops: operations per example, see :class:`~pyro_vd.networks.flops.NetworkCost`; for "sparse", the effective ones.
        bytes: of its file.
    """

    parameters: int
    flops: int
    bytes: int


def check_deploy(deploy: Any) -> Deploy:
    """Return a value for ``deploy``.

    Raises:
        InputError: an unknown one, or one that needs an extra that is not installed.
    """
    check_choice("deploy", deploy, get_args(Deploy))
    if deploy == "onnx":
        check_installed("ONNX", "onnx", "onnxruntime", "onnxscript")
    found: Deploy = deploy
    return found


def file_bytes(net: nn.Module, deploy: Deploy, example: Inputs) -> int:
    """The bytes of the file of a compact network."""
    if deploy == "onnx":
        return len(onnx_network(net, rows(example, slice(3)))[0])
    size = deployed_size(net, example)
    if size is None:
        raise InputError(name="net", value=type(net), allowed="a network with parameters")
    return size.bytes if deploy == "torch" else size.sparse_bytes


def footprint(net: nn.Module, deploy: Deploy, example: Inputs) -> Footprint:
    """Measure a compact network, in whose file nothing is left out but zeros."""
    cost = network_cost(net, rows(example, slice(1)))
    parameters, flops = cost.parameters, cost.flops
    if deploy == "sparse":
        parameters = sum(int(parameter.count_nonzero()) for parameter in net.parameters())
        flops = cost.effective_flops
    return Footprint(parameters, flops, file_bytes(net, deploy, example))


@dataclass(frozen=True)
class Reach:
    """What a file of so many bytes asks of a training.

    Attributes:
        compression: about |W| / |W left|.
        bytes: of the file, which are more than were asked for where too few weights would be left to learn anything.
    """

    compression: float
    bytes: float


def reach(net: nn.Module, before: Footprint, weights: int, most_bytes: float, deploy: Deploy) -> Reach:
    """About the compression |W| / |W left| that makes a file of so many bytes, or of the fewest that can be trained for.

    These leave √n of each tensor of n weights, and in a dense file 2 √n, a row and a column of a square: with fewer, a network
    hardly depends on its inputs.

    Args:
        net: the network before.
        before: its size.
        weights: |W|.
        most_bytes: of the file.
        deploy: what is deployed.
    """
    parameters = list(net.parameters())
    count, item = sum(each.numel() for each in parameters), max(each.element_size() for each in parameters)
    sparse = deploy == "sparse"
    overhead = max(0, before.bytes - item * count)  # buffers, and what says where which number is
    per_weight = item + _BYTES_OF_PLACE if sparse else item * count / weights  # in a dense file, biases go with their units
    fewest = sum(math.isqrt(each.numel()) for each in parameters if each.ndim >= 2) * (1 if sparse else 2)
    left = max(1.0, min(fewest, weights), (most_bytes - overhead) / per_weight)
    return Reach(max(1.0, weights / left), max(most_bytes, overhead + left * per_weight))


def save(net: nn.Module, path: Path, deploy: Deploy, example: Inputs, info: dict[str, Any]) -> None:
    """Write the file of a compact network; see :meth:`CompressResult.save() <pyro_vd.CompressResult.save>`."""
    formats = {".onnx": "onnx", ".pt2": "torch", ".safetensors": "sparse" if deploy == "sparse" else "safetensors"}
    if path.suffix not in formats:
        raise InputError(name="path", value=str(path), allowed=f"a name that ends in {', '.join(formats)}")
    FORMATS[formats[path.suffix]].save(net, path, rows(example, slice(3)), info)


def latencies(before: nn.Module, after: nn.Module, deploy: Deploy, example: Inputs) -> dict[str, tuple[float, float]]:
    """The seconds of a batch before and after, by runtime, all measured in turns with the threads that torch has.

    Args:
        before, after: the networks, on the CPU.
        deploy: what is deployed: beside PyTorch, its runtime is measured.
        example: inputs, which are repeated to fill a batch.
    """
    batch = batch_of(example)
    pairs: dict[str, tuple[nn.Module, nn.Module]] = {RUNTIMES["torch"]: (before, after)}
    if deploy == "onnx":
        few = rows(example, slice(3))
        pairs[RUNTIMES["onnx"]] = onnx_network(before, few)[1], onnx_network(after, few)[1]
    if deploy == "sparse":
        pairs[RUNTIMES["sparse"]] = before, sparsify_runtime(after, example=batch)
    times = shortest_seconds(*(runner(net, batch) for pair in pairs.values() for net in pair))
    return {name: (times[2 * place], times[2 * place + 1]) for place, name in enumerate(pairs)}


def batch_of(example: Inputs) -> Inputs:
    """Return the batch whose latency is measured, of a few inputs again and again."""
    return rows(example, torch.arange(BATCH) % num_examples(example))


def runner(net: nn.Module, batch: Inputs) -> Callable[[], object]:
    """Return a function that runs a network on a batch."""

    @torch.inference_mode()
    def go() -> object:
        return run(net, batch)

    return go


def deployed_latency(times: Mapping[str, tuple[float, float]]) -> float:
    """The seconds of a batch after compression in the runtime that the network is deployed to, the last one."""
    return list(times.values())[-1][1]
