"""The residual network of He 2015 (arXiv 1512.03385) for CIFAR-10, section 4.2."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from pyro_vd.networks.ready import check_sizes

_BLOCKS = 3
"""The blocks of each of the three groups; 6 · 3 + 2 = 20 layers."""


class ResidualBlock(nn.Module):
    """Two 3 × 3 convolutions with batch normalisation, and a shortcut past both.

    Where the block has more channels than its input, its stride is 2, and the shortcut takes every second position and fills
    the new channels with zeros, so that it has no parameters (option A of the paper).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.added: int = outputs - inputs
        self.conv1: nn.Conv2d = nn.Conv2d(inputs, outputs, 3, stride=2 if self.added else 1, padding=1, bias=False)
        self.norm1: nn.BatchNorm2d = nn.BatchNorm2d(outputs)
        self.conv2: nn.Conv2d = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2: nn.BatchNorm2d = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.added)) if self.added else x
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + shortcut)


def resnet20(classes: int = 10) -> nn.Sequential:
    """Make ResNet-20 for images ``(batch, 3, 32, 32)``: 0.27 million parameters; it returns ``(batch, classes)``.

    Args:
        classes: the number of classes, at least 1.

    Raises:
        InputError: ``classes`` is not an integer of at least 1.
    """
    check_sizes({"classes": classes})
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    channels = 16
    for width in (16, 32, 64):
        for _ in range(_BLOCKS):
            layers.append(ResidualBlock(channels, width))
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
