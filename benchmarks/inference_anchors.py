"""Other ways to run a pruned network, to compare with: sparse products of SciPy and of MKL, ONNX Runtime, OpenVINO."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd.export.onnx_file import load_onnx
from pyro_vd.networks.layers import as_matrix
from pyro_vd.runtime.csr import linear_steps
from pyro_vd.runtime.csr_linear import CSRLinear

HAVE_ONNX = find_spec("onnxruntime") is not None and find_spec("onnxscript") is not None
HAVE_OPENVINO = find_spec("openvino") is not None


class ProductChain(nn.Module):
    """A multilayer perceptron whose linear layers are given functions of activations ``(features, batch)``.

    Args:
        net: the network.
        product: makes the function of a layer from its weight and bias.
    """

    def __init__(self, net: nn.Module, product: Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        _, steps = linear_steps(net)
        self._calls: list[Callable[[Tensor], Tensor]] = []
        for step in steps:
            matrix = as_matrix(step)
            if matrix is not None:
                bias = matrix[0].new_zeros(len(matrix[0])) if matrix[1] is None else matrix[1]
                self._calls.append(product(matrix[0].detach(), bias.detach()[:, None]))
            elif type(step) is nn.ReLU:
                self._calls.append(torch.relu_)
            else:  # a selection of inputs, which works on (batch, features)
                self._calls.append(lambda h, step=step: step(h.t()).t())

    def forward(self, x: Tensor) -> Tensor:
        h = x.flatten(1).t()
        for call in self._calls:
            h = call(h)
        return h.t()


def scipy_product(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """CSR of SciPy."""
    from scipy.sparse import csr_array

    matrix, added = csr_array(weight.numpy()), bias.numpy()

    def multiply(h: Tensor) -> Tensor:
        return torch.from_numpy(matrix @ h.numpy() + added)

    return multiply


def mkl_product(weight: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
    """CSR of MKL, which torch calls where it was built with it."""
    matrix = CSRLinear(weight, None, sparse=True).weight

    def multiply(h: Tensor) -> Tensor:
        return torch.addmm(bias, matrix, h)

    return multiply


class OpenVINONetwork(nn.Module):
    """An ONNX file run by OpenVINO on the CPU, with as many threads as torch has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        import openvino

        options: dict[str, Any] = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "PERFORMANCE_HINT": "LATENCY"}
        self._compiled = openvino.Core().compile_model(str(path), "CPU", options)

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(self._compiled(x.numpy())[0])


def anchors(small: nn.Module, is_chain: bool, onnx: Path | None) -> dict[str, nn.Module]:
    """The networks to compare with, for the present number of threads.

    Args:
        small: the compact network.
        is_chain: whether it is a multilayer perceptron.
        onnx: a file of it; None where ONNX is not installed.
    """
    nets: dict[str, nn.Module] = {}
    if is_chain:
        nets = {"SciPy": ProductChain(small, scipy_product)}
        if torch.backends.mkl.is_available():
            nets["MKL"] = ProductChain(small, mkl_product)
    if onnx is not None:
        nets["ONNX Runtime"] = load_onnx(onnx)
        if HAVE_OPENVINO:
            nets["OpenVINO"] = OpenVINONetwork(onnx)
    return nets
