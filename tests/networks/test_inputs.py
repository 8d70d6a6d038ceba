"""Inputs in every form that a network takes."""

from __future__ import annotations

from collections import UserDict

import pytest
import torch
from support import refuses
from torch import Tensor, nn

from pyro_vd.networks.inputs import call_arguments, num_examples, rows, run, tensors_in, to_device


class _Scaled(nn.Module):
    def forward(self, x: Tensor, y: Tensor | None = None, factor: float = 1.0) -> Tensor:
        return factor * (x if y is None else x + y)


X, Y = torch.arange(6.0).reshape(3, 2), torch.ones(3, 2)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (X, X),
        ((X, Y), X + Y),
        ([X, Y], X + Y),
        ({"x": X, "factor": 2.0}, 2 * X),
        (UserDict({"y": Y, "x": X}), X + Y),
    ],
    ids=["tensor", "tuple", "list", "dict", "mapping"],
)
def test_every_form_runs(given, wanted):
    torch.testing.assert_close(run(_Scaled(), given), wanted)
    assert num_examples(given) == 3
    torch.testing.assert_close(run(_Scaled(), rows(given, slice(1, 3))), wanted[1:])
    assert all(tensor.device.type == "cpu" for tensor in tensors_in(to_device(given, torch.device("cpu"))))
    assert to_device(given, None) is given


def test_nested_inputs_keep_their_form():
    nested = {"ids": X, "cache": [(X, Y)], "flag": True}
    part = rows(nested, slice(2))
    assert part["flag"] is True
    assert part["cache"][0][1].shape == (2, 2)
    assert call_arguments(nested)[1].keys() == nested.keys()


@pytest.mark.parametrize(
    "given", [(), {"flag": True}, (X, Y[:2]), (torch.tensor(1.0),)], ids=["none", "flags", "two", "scalar"]
)
def test_inputs_without_one_number_of_examples(given):
    with refuses("x", [tuple(tensor.shape) for tensor in tensors_in(given)], "dimension 0"):
        num_examples(given)
