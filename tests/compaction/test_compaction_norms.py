"""Normalisation over units: constant units go, and the normalisation remembers them; groups of channels go as a whole."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from compaction import varied
from compaction_support import Around, check_compact
from stages import difference
from stream_support import without_stream_units
from torch import Tensor, nn
from torchvision.models.convnext import LayerNorm2d
from zoo import EncoderClassifier, specimens

from pyro_vd.compaction import ShrinkPlan, apply_plan, compact, shrink_plan
from pyro_vd.networks.inputs import in_float64
from pyro_vd.networks.layers import widths
from pyro_vd.networks.partial_norms import PartialNorm

MADE: dict[str, Callable[[], nn.Module]] = {
    "layer": lambda: nn.LayerNorm(8),
    "layer without gain and bias": lambda: nn.LayerNorm(8, elementwise_affine=False),
    "layer without bias": lambda: nn.LayerNorm(8, bias=False, eps=0.1),
    "RMS": lambda: nn.RMSNorm(8),
    "RMS without gain": lambda: nn.RMSNorm(8, eps=0.1, elementwise_affine=False),
}


def between(norm: nn.Module) -> Around:
    """Unit 0 is constant, and unit 1 is unread after the normalisation, which has random parameters."""
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return Around(lambda net, h: net.parts["norm"](h), norm=norm)


def norm_of(net: Any) -> PartialNorm:
    found = net.parts["norm"]
    assert isinstance(found, PartialNorm)
    return found


@pytest.mark.parametrize("name", MADE)
def test_a_constant_unit_goes_if_nobody_reads_its_output(name: str) -> None:
    torch.manual_seed(0)
    net = between(MADE[name]())
    assert widths(check_compact(net, 6)) == (6, 8, 3)
    with torch.no_grad():
        net.last.weight[:, 0] = 0
    small = check_compact(net, 6)
    assert widths(small) == (6, 7, 3), "a unit that is unread alone stays, as mean and variance depend on it"
    torch.testing.assert_close(norm_of(small).removed, net.first.bias[:1].detach())
    with torch.no_grad():
        small.first.weight[3:5] = 0  # type: ignore[union-attr, index]
        small.last.weight[:, 3:5] = 0  # type: ignore[union-attr, index]
    smaller = check_compact(small, 6)
    assert widths(smaller) == (6, 5, 3)
    assert norm_of(smaller).num_removed == 3


def test_a_constant_unit_goes_if_its_gain_is_zero() -> None:
    net = between(nn.LayerNorm(8))
    with torch.no_grad():
        norm: Any = net.parts["norm"]
        norm.weight[0] = 0
    small: Any = check_compact(net, 6)
    assert widths(small) == (6, 7, 3)
    assert not torch.equal(small.last.bias, net.last.bias), "the bias of the normalisation is in the next one"


def test_a_unit_that_is_zero_goes_from_rms_normalisation() -> None:
    net = between(nn.RMSNorm(8))
    with torch.no_grad():
        net.first.bias[0] = 0
    assert widths(check_compact(net, 6)) == (6, 7, 3)


def test_a_normalisation_that_multiplies_by_another_number_is_not_taken_for_one_that_can_lose_units() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8))

        def forward(self, x: Tensor) -> Tensor:
            return self.weight * (x * torch.rsqrt((x + 1).pow(2).mean(-1, keepdim=True) + 1e-5))

    net = between(Other())
    with torch.no_grad():
        net.last.weight[:, 0] = 0
    assert widths(check_compact(net, 6)) == (6, 8, 3)


def test_channels_of_images() -> None:
    net: Any = nn.Sequential(nn.Conv2d(3, 8, 3), LayerNorm2d(8), nn.Conv2d(8, 4, 1), nn.GELU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        net[0].weight[[2, 5]] = 0
        net[2].weight[:, [2, 5]] = 0
    small: Any = check_compact(net, 3, 6, 6)
    assert widths(small) == (3, 6, 4, 2)
    torch.testing.assert_close(small[1].removed, net[0].bias[[2, 5]].detach())


def test_a_norm_that_is_used_twice_keeps_its_units(caplog: pytest.LogCaptureFixture) -> None:
    net = Around(lambda net, h: net.parts["norm"](net.parts["norm"](h).relu()), norm=nn.LayerNorm(8))
    with torch.no_grad():
        net.last.weight[:, 0] = 0
    assert widths(check_compact(net, 6)) == (6, 8, 3)
    assert "1 units that could be removed stay because of these operations: layer_norm" in caplog.text


class Stream(nn.Module):
    """A residual stream with a normalisation in front of each of two branches."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.branch, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.norm, self.end = nn.LayerNorm(8), nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.last(self.end(h + self.branch(self.norm(h))))


def test_a_constant_that_stays_keeps_its_value_where_only_a_normalisation_reads_it() -> None:
    torch.manual_seed(0)
    net = Stream()
    with torch.no_grad():
        for layer in (net.first, net.branch):
            layer.weight[:3] = 0
        net.branch.weight[:, 1:3] = 0
        net.last.weight[:, :3] = 0  # unit 0 is read by the branch alone
    small: Any = check_compact(net, 6)
    assert widths(small) == (6, 6, 6, 3)
    assert small.branch.bias[0] == net.branch.bias[0] != 0
    torch.testing.assert_close(small.norm.removed, net.first.bias[1:3].detach())
    torch.testing.assert_close(small.end.removed, (net.first.bias + net.branch.bias)[1:3].detach())


def test_groups_of_channels_go_as_a_whole() -> None:
    torch.manual_seed(0)
    net: Any = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.GroupNorm(2, 6)),
        *(nn.Flatten(), nn.Linear(6 * 4, 3)),
    )
    for norm in (net[1], net[4]):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    with torch.no_grad():
        net[0].weight[2:4] = net[1].bias[2:4] = 0  # a group that is constant
        net[0].weight[6] = 0  # half of one
        net[6].weight[:, :12] = 0  # a group that nobody reads
    small: Any = check_compact(net, 3, 6, 6)
    assert (small[1].num_groups, small[1].num_channels) == (3, 6)
    assert (small[4].num_groups, small[4].num_channels) == (1, 3)
    assert (small[0].out_channels, small[3].out_channels, small[6].in_features) == (6, 3, 12)


def norms_first() -> nn.Module:
    net = EncoderClassifier()
    layer = nn.TransformerEncoderLayer(24, 4, 48, batch_first=True, norm_first=True)
    net.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(24), enable_nested_tensor=False)
    return net


@pytest.mark.parametrize(
    ("make", "norms"), [(EncoderClassifier, True), (norms_first, True), (norms_first, False)], ids=["after", "first", "kept"]
)
def test_the_stream_of_a_transformer_encoder_gets_narrower(make: Callable[[], nn.Module], norms: bool) -> None:
    torch.manual_seed(0)
    net: Any = varied(make()).double()
    left = without_stream_units(net, torch.randn(2, 6, 8).double(), norms)
    small: Any = check_compact(net, 6, 8)
    assert small.project.out_features == small.head.in_features == left == 15
    assert isinstance(small.encoder.layers[1].norm2, PartialNorm)
    x = torch.randn(3, 9, 8).double()
    with torch.inference_mode():  # where PyTorch has a kernel for a whole layer
        torch.testing.assert_close(small(x), net.eval()(x))


@pytest.mark.parametrize(
    ("name", "norms", "stream"),
    [
        ("torchvision VisionTransformer", True, "heads.head"),
        *(("Llama", True, "lm_head"), ("Llama", False, "lm_head")),
        *(("BERT", True, "bert.pooler.dense"), ("GPT-2", True, "lm_head"), ("GPT-2", False, "lm_head")),
        *(("Hugging Face ViT", True, "classifier"), ("Hugging Face ViT", False, "classifier")),
    ],
)
def test_the_stream_of_networks_of_others_gets_narrower(name: str, norms: bool, stream: str) -> None:
    (specimen,) = specimens(name)
    net, (x, _) = varied(specimen.seeded()).double().eval(), specimen.seeded_batch(3)
    left = without_stream_units(net, in_float64(x), norms)
    plan = shrink_plan(net, in_float64(x))
    assert ShrinkPlan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
    small: Any = apply_plan(net, plan)
    assert (left, small.get_submodule(stream).in_features) == (20, 20)
    assert sum(isinstance(module, PartialNorm) for module in small.modules()) == 5
    others = [in_float64(specimen.seeded_batch(n, seed=n)[0]) for n in (1, 5)]
    widest = max(difference(small, net, other) for other in others)
    assert widest < {"Llama": 1e-6}.get(name, 1e-10), "Llama's own normalisation is in float32"
    again = compact(copy.deepcopy(small), in_float64(x)).state_dict()
    assert all(torch.equal(again[key], tensor) for key, tensor in small.state_dict().items())
