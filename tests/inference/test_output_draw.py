"""The draw of an output as one node of autograd: output, gradients and second derivatives are those of single operations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pyro_vd.inference.output_draw import EPS, drawn_output
from pyro_vd.networks.layer_registry import linear_call

SPACES = {1: (F.conv1d, (7,)), 2: (F.conv2d, (7, 6)), 3: (F.conv3d, (5, 4, 3))}
CALLS: dict[str, tuple[Any, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "linear": (F.linear, (5, 4), (3, 4), {}),
    "linear, positions": (F.linear, (5, 2, 4), (3, 4), {}),
    **{f"conv{n}d": (function, (5, 2, *space), (3, 2, *(2,) * n), {}) for n, (function, space) in SPACES.items()},
    "strides": (F.conv2d, (5, 2, 7, 6), (4, 2, 3, 2), {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
    "groups": (F.conv2d, (5, 4, 7, 6), (6, 2, 3, 2), {"stride": 2, "padding": 1, "groups": 2}),
    "list of one": (F.conv1d, (5, 2, 7), (3, 2, 2), {"stride": [2]}),
}


def drawn(name: str, by_node: bool, dtype: torch.dtype = torch.float64) -> tuple[Tensor, list[Tensor]]:
    """An output, and the leaves that it depends on."""
    function, x_shape, w_shape, options = CALLS[name]
    torch.manual_seed(0)
    x, theta, log_sigma2 = (torch.randn(shape, dtype=dtype).requires_grad_() for shape in (x_shape, w_shape, w_shape))
    bias = torch.randn(w_shape[0], dtype=dtype).requires_grad_()
    call = linear_call(function, (x, theta), options)
    assert call is not None
    linear_map, arguments = call
    variance = log_sigma2.exp()
    torch.manual_seed(1)
    if by_node:
        output = drawn_output(linear_map, {**arguments, "bias": bias}, theta, variance)
        assert output is not None
    else:
        mean = linear_map.output({**arguments, "bias": bias}, theta)
        std = (linear_map.variance(arguments, variance) + EPS).sqrt()
        output = mean + std * torch.randn_like(std)
    return output, [x, theta, log_sigma2, bias]


@pytest.mark.parametrize("name", CALLS)
def test_output_and_gradients_are_those_of_single_operations(name: str) -> None:
    found = []
    for by_node in (True, False):
        output, leaves = drawn(name, by_node)
        direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(2), dtype=output.dtype)
        found.append([output, *torch.autograd.grad(output, leaves, direction)])
    torch.testing.assert_close(*found, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", CALLS)
def test_second_derivatives_are_those_of_single_operations(name: str) -> None:
    """Of a penalty on the gradient by the inputs, which depends on θ and σ² of the output's noise."""
    found = []
    for by_node in (True, False):
        output, leaves = drawn(name, by_node)
        first = torch.autograd.grad(output.square().sum(), leaves, create_graph=True)
        found.append(torch.autograd.grad(sum(each.square().sum() for each in first), leaves))
    torch.testing.assert_close(*found)


class Products(TorchDispatchMode):
    """Counts products of matrices."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        self.count += func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("needed", "products"), [({"variance"}, 1), ({"theta"}, 1), ({"theta", "variance"}, 2), ({"x", "theta", "variance"}, 4)]
)
def test_only_gradients_that_are_needed_are_computed(needed: set[str], products: int) -> None:
    """The gradient of a weight is one product; that of the inputs is one for the mean and one for the variance."""
    shapes = {"x": (5, 4), "theta": (3, 4), "variance": (3, 4)}
    leaves = {name: torch.rand(shape).requires_grad_(name in needed) for name, shape in shapes.items()}
    call = linear_call(F.linear, (leaves["x"], leaves["theta"]), {})
    assert call is not None
    output = drawn_output(*call, leaves["theta"], leaves["variance"])
    assert output is not None
    with Products() as counted:
        output.sum().backward()
    assert {name for name, leaf in leaves.items() if leaf.grad is not None} == needed
    assert counted.count == products


@pytest.mark.parametrize(
    ("function", "x", "w", "options"),
    [
        (F.conv_transpose2d, (5, 2, 7, 6), (2, 3, 2, 2), {}),
        (F.conv2d, (5, 2, 7, 6), (3, 2, 3, 3), {"padding": "same"}),
        (F.conv2d, (2, 7, 6), (3, 2, 2, 2), {}),
        (F.linear, (4,), (3, 4), {}),
    ],
)
def test_other_maps_are_left_to_single_operations(function: Any, x: Any, w: Any, options: dict[str, Any]) -> None:
    call = linear_call(function, (torch.randn(x), torch.randn(w)), options)
    assert call is not None
    linear_map, arguments = call
    assert drawn_output(linear_map, arguments, arguments["weight"], torch.rand(w)) is None
