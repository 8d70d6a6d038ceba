"""Inputs that sparse inference cannot take are refused with a sentence."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from torch import nn

from pyro_vd import InputError, compact
from pyro_vd.networks.modules import SelectInputs
from pyro_vd.networks.ready import mlp
from pyro_vd.runtime import sparsify_runtime
from pyro_vd.runtime.csr import CSRNetwork
from pyro_vd.runtime.sparse_runtime import ChainRuntime


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("features", [5, 7, 24])
def test_an_input_of_another_size_is_refused(dtype: torch.dtype, features: int) -> None:
    """Also where the columns that are missing are all zero."""
    net = mlp([6, 4, 3]).to(dtype)
    with torch.no_grad():
        net.get_parameter("1.weight")[:, 4:] = 0
    with pytest.raises((InputError, RuntimeError), match=str(features)):
        CSRNetwork(net)(torch.zeros(2, features, dtype=dtype))


FLAT, MATRIX = mlp((20, 15, 4)), nn.Sequential(SelectInputs(20, 20, dim=1), nn.Linear(20, 4))
CPU, ARRAY = torch.device("cpu"), torch.randn(2, 20).numpy()
WRONG: list[tuple[nn.Module, Any, object, str]] = [
    (nn.Linear(20, 4), torch.randn(2, 20).double(), (torch.float64, CPU), "torch.float32"),
    (nn.Linear(20, 4), torch.randint(9, (2, 20)), (torch.int64, CPU), "torch.float32"),
    (nn.Linear(20, 4), torch.randint(9, (2, 20)).to(torch.uint8), (torch.uint8, CPU), "torch.float32"),
    (FLAT.double(), torch.randn(2, 20), (torch.float32, CPU), "torch.float64"),
    (nn.Linear(20, 4), torch.tensor(1.0), (), "(…, 20)"),
    (nn.Linear(20, 4), torch.randn(2, 10), 10, "20"),
    (nn.Linear(20, 4), torch.randn(20, 2, 3), 3, "20"),
    (nn.Linear(20, 4), torch.randn(2, 0), 0, "20"),
    (copy.deepcopy(FLAT).float(), torch.randn(20), (20,), "(n, …), 20"),
    (copy.deepcopy(FLAT).float(), torch.randn(2, 5, 5), 25, "20"),
    (MATRIX, torch.randn(2, 20, 20), (2, 20, 20), "(n, 20)"),
    (MATRIX, torch.randn(20), (20,), "(n, 20)"),
    (nn.Linear(20, 4), ARRAY, ARRAY, "ndarray"),
    (nn.Linear(20, 4), [1.0] * 20, [1.0] * 20, "list"),
]


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_what_no_form_can_take_is_refused_with_a_sentence(case: int) -> None:
    net, x, value, mentioned = WRONG[case]
    forms: list[nn.Module] = [CSRNetwork(net), CSRNetwork(net, [False] * 3)]
    if net is not MATRIX:  # which itself selects in dimension 1 of whatever it is given
        forms += [sparsify_runtime(net), ChainRuntime(net, [net], [])]
    for form in forms:
        with refuses("x", value, mentioned):
            form(x)


def test_inputs_are_selected_from_a_dimension_that_is_there() -> None:
    for x in (torch.tensor(1.0), torch.randn(20)):
        with refuses("x", tuple(x.shape), 20, "dimension 1"):
            SelectInputs(20, 3, dim=1)(x)


def test_bad_input() -> None:
    net = mlp((4, 3, 2))
    refused: list[tuple[nn.Module, str, str]] = [
        (nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), "1", "BatchNorm1d"),
        (nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Flatten())), "1.0", "Flatten"),
        (nn.Sequential(nn.Conv2d(1, 1, 1)), "0", "Conv2d"),
        (nn.Sequential(nn.Flatten(2), nn.Linear(4, 3)), "0", "Flatten"),
        (nn.Sequential(nn.ReLU()), "net", "Sequential"),
    ]
    for other, name, mentioned in refused:
        with refuses(name, ANYTHING, mentioned):
            sparsify_runtime(other)
    sizes: list[tuple[list[Any], str, object]] = [
        ([0], "batch_sizes[0]", 0),
        ([2.5], "batch_sizes[0]", 2.5),
        ([], "batch_sizes", []),
    ]
    for batch_sizes, name, value in sizes:
        with refuses(name, value):
            sparsify_runtime(net, batch_sizes)
    with torch.no_grad():
        net[1].weight[:, 2] = 0
    with refuses("x", 3, 4):
        CSRNetwork(compact(net))(torch.randn(5, 3))
    net[1].register_forward_hook(lambda module, args, output: 2 * output)
    with refuses("1", ANYTHING, "Linear"):
        sparsify_runtime(net)
