"""Compaction of random networks: the same function, never larger, the network unchanged, nothing left to do, its file whole."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from random_network import RandomNetwork, magnitude
from strategies import Case, examples, networks
from torch import nn

from pyro_vd import InputError, compact, load_pruned, save_pruned


@torch.no_grad()
def check_equal(small: nn.Module, case: Case, tolerance: float) -> None:
    """The outputs are those of the case's network, on batches of several sizes."""
    for number, scale in ((1, 1.0), (2, 0.0), (5, 1.0), (4, -10.0)):
        x = scale * case.batch(number, seed=number)
        wanted, bound = case.net(x.clone()), tolerance * (1 + magnitude(case.net, x))
        torch.testing.assert_close(small(x.clone()), wanted, rtol=tolerance, atol=bound)


def state(net: nn.Module) -> dict[str, Any]:
    """Everything that a network is: tensors, modes and types of its modules."""
    tensors = {name: (tensor.dtype, tuple(tensor.shape), tensor.tolist()) for name, tensor in net.state_dict().items()}
    return {"tensors": tensors, "modules": [(name, type(part), part.training) for name, part in net.named_modules()]}


@examples(100)
@given(case=networks())
@pytest.mark.slow
def test_the_same_function_and_never_larger(case: Case) -> None:
    before = state(case.net)
    try:
        small = compact(case.net, case.batch(2))
    except InputError:
        assert case.troubled, "only what tracing cannot follow, or what depends on sizes, may be refused"
        return
    finally:
        assert state(case.net) == before
    check_equal(small, case, 1e-9)
    assert not any(module.training for module in small.modules())
    inner = small.net if isinstance(case.net, RandomNetwork) and type(small) is nn.Sequential else small
    whole = dict(case.net.named_parameters())
    for name, parameter in inner.named_parameters():
        if name in whole:
            assert all(new <= old for new, old in zip(parameter.shape, whole[name].shape, strict=True)), name
        else:  # what was constant has become a bias
            assert name.endswith("bias"), name

    assert state(compact(small, case.batch(2))) == state(small)


@examples(40)
@given(case=networks(trouble=False))
def test_in_single_precision(case: Case) -> None:
    case.net.float()
    check_equal(compact(case.net, case.batch(3)), case, 1e-4)


@examples(40)
@given(case=networks(trouble=False))
def test_modes_of_the_network_stay(case: Case) -> None:
    for index, module in enumerate(case.net.modules()):
        module.training = index % 2 == 0
    before = state(case.net)
    small = compact(case.net, case.batch(2))
    assert state(case.net) == before
    case.net.eval()
    check_equal(small, case, 1e-9)


@examples(50)
@given(case=networks(trouble=False))
def test_the_file_of_a_compact_network_gives_it_back(case: Case) -> None:
    small, x = compact(case.net, case.batch(2)), case.batch(3)
    with tempfile.TemporaryDirectory() as folder:
        for layout in ("dense", "sparse"):
            save_pruned(small, path := Path(folder) / layout, layout=layout)
            try:
                again = load_pruned(path)
            except InputError:
                again = load_pruned(path, case.net)
            torch.testing.assert_close(
                again(x.clone()), small(x.clone()), rtol=1e-12, atol=1e-12 * (1 + magnitude(case.net, x))
            )
            assert state(again) == state(small)
