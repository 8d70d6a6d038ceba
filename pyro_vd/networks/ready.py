"""Ready networks of the literature for images and tables, as ordinary ``nn.Sequential`` modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from torch import nn

from pyro_vd._core.arguments import LARGEST, check_flag, check_number, check_rate
from pyro_vd._core.errors import InputError


def check_sizes(sizes: Mapping[str, object]) -> None:
    """Refuse arguments of a network, by name, that are not integers of at least 1.

    Raises:
        InputError: naming the argument.
    """
    for name, value in sizes.items():
        check_number(name, value, low=1, high=LARGEST, whole=True)


def mlp(sizes: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Make a fully connected ReLU network. It flattens its input to ``(batch, sizes[0])`` and returns ``(batch, sizes[-1])``.

    Args:
        sizes: numbers of units per layer, from the input to the output; at least two, each at least 1.
        dropout: rate of ordinary dropout on the hidden units, in [0, 1).

    Raises:
        InputError: fewer than two sizes, a size below 1, or a rate out of range.
    """
    dropout = check_rate("dropout", dropout)
    if len(sizes) < 2 or any(not isinstance(size, int) or size < 1 for size in sizes):
        raise InputError(name="sizes", value=list(sizes), allowed="at least two integers, each at least 1: input, …, output")
    layers: list[nn.Module] = [nn.Flatten()]
    for index, (inputs, outputs) in enumerate(pairwise(sizes)):
        if index:
            layers += [nn.ReLU(), nn.Dropout(dropout)] if dropout else [nn.ReLU()]
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


def lenet5(classes: int = 10, scaled: bool = False) -> nn.Sequential:
    """Make LeNet-5 in the sizes of Caffe, 20-50-800-500: 430,500 weights for 10 classes (Molchanov 2017, section 5.2).

    Its inputs are images of 28 × 28 numbers, ``(batch, 28, 28)`` or ``(batch, 1, 28, 28)``; it returns ``(batch, classes)``.

    Args:
        classes: the number of classes, at least 1.
        scaled: whether each filter of the second convolution has a factor of its own, 1 at the start: 50 weights more, of a
            depthwise convolution of size 1. A guide that removes units can then remove a filter as a whole, and beside it
            single positions of the filters that stay, which are inputs of the linear layer.

    Raises:
        InputError: ``classes`` is not an integer of at least 1, or ``scaled`` is not a bool.
    """
    check_sizes({"classes": classes})
    scale: list[nn.Conv2d] = []
    if check_flag("scaled", scaled):
        scale = [nn.Conv2d(50, 50, 1, groups=50, bias=False)]
        nn.init.ones_(scale[0].weight)
    return nn.Sequential(
        *(nn.Flatten(), nn.Unflatten(1, (1, 28, 28))),
        *(nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(20, 50, 5), *scale, nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, classes)),
    )


def conv_classifier(shape: Sequence[int] = (28, 28), classes: int = 10, width: int = 16) -> nn.Sequential:
    """Make a small convolutional network for images of any size: three convolutions of stride 2, and a linear layer.

    It returns ``(batch, classes)``.

    Args:
        shape: of an image, ``(height, width)`` or ``(channels, height, width)``.
        classes: the number of classes.
        width: the channels of the first convolution; the second and the third have twice and four times as many.

    Raises:
        InputError: an argument is not an integer of at least 1, or ``shape`` has not two or three of them.
    """
    if len(shape) not in (2, 3):
        raise InputError(name="shape", value=list(shape), allowed="(height, width) or (channels, height, width)")
    check_sizes({**{f"shape[{index}]": size for index, size in enumerate(shape)}, "classes": classes, "width": width})
    channels, *positions = (1, *shape) if len(shape) == 2 else shape
    layers: list[nn.Module] = [nn.Flatten(), nn.Unflatten(1, (1, *shape))] if len(shape) == 2 else []
    for outputs in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(channels, outputs, 3, stride=2, padding=1), nn.ReLU()]
        channels, positions = outputs, [-(-size // 2) for size in positions]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * positions[0] * positions[1], classes))


_VGG_LIKE = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""The channels of the convolutions in each group; a pooling ends the group."""


def vgg_like(classes: int = 10) -> nn.Sequential:
    """Make the VGG-like network for CIFAR-10: 13 convolutions with batch normalisation, and two linear layers.

    Zagoruyko 2015; the network of Molchanov 2017 (arXiv 1701.05369, section 5.4). Its inputs are ``(batch, 3, 32, 32)``, its
    outputs ``(batch, classes)``. Dropout is left out: variational dropout replaces it.

    Args:
        classes: the number of classes, at least 1.

    Raises:
        InputError: ``classes`` is not an integer of at least 1.
    """
    check_sizes({"classes": classes})
    layers: list[nn.Module] = []
    channels = 3
    for group in _VGG_LIKE:
        for width in group:
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    head = (nn.Linear(channels, 512, bias=False), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, classes))
    return nn.Sequential(*layers, nn.Flatten(), *head)
