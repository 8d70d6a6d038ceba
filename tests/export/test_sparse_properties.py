"""Files and sparse forms of random tensors and networks: equal where nothing is lost, within the error that rounding allows."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from network_parts import ACTIVATIONS, fill_at_random
from random_network import RandomNetwork, magnitude
from strategies import Case, examples, networks
from torch import Tensor, nn

from pyro_vd import load_pruned, save_pruned
from pyro_vd.evaluation.deployed import stored_size
from pyro_vd.export.pruned_file import read_info
from pyro_vd.export.quantisation import ENTRIES
from pyro_vd.export.sparse_file import pack, packed_shapes, unpack
from pyro_vd.runtime import sparsify_runtime
from pyro_vd.runtime.csr import CSRNetwork

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
OTHERS = (torch.int64, torch.int32, torch.uint8, torch.bool)
INFO = st.dictionaries(
    st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.floats(-1, 1)), max_size=3
)


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """A tensor of any type that is saved, with many zeros, few different values, or neither."""
    shape = draw(st.lists(st.integers(0, 12), max_size=4)) if draw(st.booleans()) else [draw(st.integers(1, 3)), 300]
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    if draw(st.integers(0, 3)) == 0:
        bound = draw(st.sampled_from([1, 2**7, 2**8, 2**15, 2**16, 2**31, 2**40]))
        numbers = torch.randint(-draw(st.sampled_from([0, bound])), bound, shape, generator=generator)
        return numbers.to(draw(st.sampled_from(OTHERS)))
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    if draw(st.booleans()):
        values = (3 * values).round() / 7
    values *= torch.rand(shape, generator=generator) < draw(st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]))
    return values.to(draw(st.sampled_from(FLOATS)))


def same(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a, b)


@examples(200)
@given(given_tensors=st.dictionaries(st.sampled_from(["weight", "bias", "0.weight", "a.b"]), tensors(), max_size=3))
def test_packed_tensors_come_back(given_tensors: dict[str, Tensor]) -> None:
    stored = pack(given_tensors)
    assert {name: (part.dtype, part.shape) for name, part in stored.items()} == {
        name: (part.dtype, part.shape) for name, part in packed_shapes(given_tensors).items()
    }
    again = unpack("here", stored, given_tensors)
    assert again.keys() == given_tensors.keys()
    for name, tensor in given_tensors.items():
        assert same(again[name], tensor)
        assert sum(part.nbytes for key, part in stored.items() if key.startswith(name)) <= tensor.nbytes


@examples(30)
@given(tensor=tensors())
def test_quantised_tensors_come_back_within_the_error_of_equal_steps(tensor: Tensor) -> None:
    """k-means starts from equal steps over the range of the values, and never ends with a larger sum of squares."""
    stored = pack({"w": tensor}, quantised=True)
    (again,) = unpack("here", stored, {"w": tensor}).values()
    assert (again.dtype, again.shape) == (tensor.dtype, tensor.shape)
    if "w.codebook" not in stored:
        assert torch.equal(again, tensor)
        return
    book, kept = stored["w.codebook"], tensor != 0
    assert len(book) <= ENTRIES
    assert set(again[kept].tolist()) <= set(book.tolist())
    assert not again[~kept].any()
    values, found = tensor[kept].double(), again[kept].double()
    step = (values.max() - values.min()) / (ENTRIES - 1)
    rounding = torch.finfo(tensor.dtype).eps * values.abs().max()
    assert (values - found).square().mean().sqrt() <= step / 2 + rounding
    if len(values.unique()) <= ENTRIES:
        assert torch.equal(again, tensor)


@examples(60)
@given(case=networks(trouble=False), layout=st.sampled_from(["dense", "sparse"]), info=INFO, single=st.booleans())
def test_files_of_networks(case: Case, layout: Any, info: dict[str, Any], single: bool) -> None:
    """Also of networks that the file cannot describe, which are given again with other numbers in them."""
    net = case.net.float() if single else case.net
    with tempfile.TemporaryDirectory() as folder:
        save_pruned(net, path := Path(folder) / "net", info, layout=layout)
        assert read_info(path) == info
        if layout == "sparse" and not info:
            assert abs(stored_size(net).sparse_bytes - path.stat().st_size) <= 16
        again = load_pruned(path, net if isinstance(net, RandomNetwork) or _is_not_described(net) else None)
    assert all(map(same, again.state_dict().values(), net.state_dict().values()))
    x = case.batch(3)
    tolerance = 1e-4 if single else 1e-12  # the last bits depend on where in memory the weights lie
    torch.testing.assert_close(again(x.clone()), net(x.clone()), rtol=tolerance, atol=tolerance * (1 + magnitude(net, x)))


def _is_not_described(net: nn.Module) -> bool:
    """AdaptiveMaxPool2d and GroupNorm are no layers that a file asks for."""
    return any(isinstance(module, nn.AdaptiveMaxPool2d | nn.GroupNorm) for module in net.modules())


@st.composite
def perceptrons(draw: st.DrawFn) -> Case:
    """What :func:`sparsify_runtime` takes: linear layers with activations between, with and without flattening in front."""
    widths = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    layers: list[nn.Module] = [nn.Flatten()] if draw(st.booleans()) else []
    for inputs, outputs in pairwise(widths):
        layers.append(nn.Linear(inputs, outputs, bias=draw(st.booleans())))
        layers += [draw(st.sampled_from((*ACTIVATIONS, nn.Dropout)))() for _ in range(draw(st.integers(0, 2)))]
    net = nn.Sequential(*layers)
    fill_at_random(draw, net)
    return Case(net.double().eval(), (widths[0],))


@examples(150)
@given(case=perceptrons(), data=st.data(), single=st.booleans())
def test_feature_major_forms_are_the_same_function(case: Case, data: st.DataObject, single: bool) -> None:
    net, tolerance = (case.net.float(), 1e-5) if single else (case.net, 1e-12)
    count = sum(isinstance(module, nn.Linear) for module in net.modules())
    form = CSRNetwork(net, data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    for number in (0, 1, 2, 7):
        x = case.batch(number)
        torch.testing.assert_close(form(x), net(x), rtol=tolerance, atol=10 * tolerance)


@examples(6)
@given(case=perceptrons(), batches=st.lists(st.integers(1, 40), min_size=1, max_size=2))
def test_a_runtime_is_the_same_function(case: Case, batches: list[int]) -> None:
    runtime = sparsify_runtime(case.net, batches)
    for number in (0, 1, 3, 50):
        x = case.batch(number)
        torch.testing.assert_close(runtime(x), case.net(x), rtol=1e-12, atol=1e-11)
