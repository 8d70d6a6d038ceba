"""Units that are constant: where they can be folded into the next bias, and where that would show."""

from __future__ import annotations

import copy

import pytest
import torch
from compaction_support import check_compact
from torch import Tensor, nn

from pyro_vd.networks.layers import widths
from pyro_vd.networks.operations import ELEMENTWISE

ACTIVATIONS = sorted(
    (kind for kind in ELEMENTWISE if isinstance(kind, type) and kind not in (nn.Dropout2d, nn.Dropout3d)),
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_a_constant_unit_goes_through_every_activation(kind: type[nn.Module]) -> None:
    net = nn.Sequential(nn.Linear(4, 5), kind(), nn.Linear(5, 3, bias=False))
    with torch.no_grad():
        net[0].weight[1] = 0
    small = check_compact(net, 4)
    assert widths(small) == (4, 4, 3)
    assert small[2].bias is not None


BORDERS: dict[str, tuple[list[nn.Module], int]] = {
    "no padding": ([nn.Conv2d(3, 4, 3)], 2),
    "padding of zeros": ([nn.Conv2d(3, 4, 3, padding=1)], 3),
    "the same size": ([nn.Conv2d(3, 4, 3, padding="same")], 3),
    "valid": ([nn.Conv2d(3, 4, 3, padding="valid")], 2),
    "reflected": ([nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")], 2),
    "circular": ([nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular")], 2),
    "the constant is 0": ([nn.ReLU(), nn.Conv2d(3, 4, 3, padding=1)], 2),
    "transposed": ([nn.ConvTranspose2d(3, 4, 3)], 3),
    "transposed, the constant is 0": ([nn.ReLU(), nn.ConvTranspose2d(3, 4, 3)], 2),
    "maximum": ([nn.MaxPool2d(3, 2, 1), nn.Conv2d(3, 4, 1)], 2),
    "average of all": ([nn.AvgPool2d(3, 2, 1), nn.Conv2d(3, 4, 1)], 3),
    "average of zeros": ([nn.ReLU(), nn.AvgPool2d(3, 2, 1), nn.Conv2d(3, 4, 1)], 2),
    "average of what is there": ([nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.Conv2d(3, 4, 1)], 2),
    "average of rows cut short": ([nn.AvgPool2d(3, 2, ceil_mode=True), nn.Conv2d(3, 4, 1)], 2),
    "another divisor": ([nn.AvgPool2d(2, divisor_override=3), nn.Conv2d(3, 4, 1)], 3),
    "one position": ([nn.AvgPool2d(8, 8, 4), nn.Conv2d(3, 4, 1)], 3),
    "adaptive": ([nn.AdaptiveAvgPool2d((3, 1)), nn.Conv2d(3, 4, 1)], 2),
    "statistics of the batch": ([nn.BatchNorm2d(3, track_running_stats=False), nn.Conv2d(3, 4, 1)], 3),
    "groups": ([nn.Conv2d(3, 3, 3, groups=3)], 3),
}


@pytest.mark.parametrize("case", BORDERS)
def test_a_constant_filter_goes_where_borders_do_not_show(case: str) -> None:
    rest, left = BORDERS[case]
    net = nn.Sequential(nn.Conv2d(2, 3, 3), *copy.deepcopy(rest))
    with torch.no_grad():
        net[0].weight[1] = 0
        net[0].bias[:] = torch.tensor([1.0, -0.5, 2.0])
    assert widths(check_compact(net, 2, 8, 8))[:2] == (2, left)


def test_what_batch_normalisation_multiplies_by_zero_is_constant() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 1))
    with torch.no_grad():
        net[1].weight[1] = 0
    assert widths(check_compact(net, 2, 8, 8)) == (2, 2, 4)


def test_a_constant_sum_is_folded_though_a_summand_stays() -> None:
    """A padded convolution needs the constant unit before the sum; who reads the sum needs neither summand."""

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.padded = nn.Conv1d(2, 3, 1), nn.Conv1d(3, 4, 3, padding=1)
            self.branch, self.last = nn.Conv1d(4, 3, 1), nn.Conv1d(3, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.stem(x)
            return self.last(h + self.branch(self.padded(h).relu()))

    net = Sum()
    with torch.no_grad():
        net.stem.weight[1] = net.branch.weight[1] = 0
    small = check_compact(net, 2, 5)
    assert widths(small) == widths(net)
    assert not small.last.weight[:, 1].any()
