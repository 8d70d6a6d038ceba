"""Random rotations, shears, rescalings and shifts of training images, drawn for each image of each batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_vd._core.arguments import check_number, take
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd.networks.inputs import Inputs, num_examples, shapes_of, tensors_in


@dataclass(frozen=True)
class RandomAffine:
    """Transforms each image of a batch by a random affine map of its own, whose parameters are drawn uniformly.

    torchvision's transform of the same name draws one map for the whole batch. Pixels from outside the image are 0.

    Raises:
        InputError: an argument out of range; or inputs that are not ``(batch, h, w)`` or ``(batch, channels, h, w)``.
    """

    degrees: float = 0.0
    """Largest rotation in either direction, in degrees, in [0, 180]."""
    shear: float = 0.0
    """Largest shear in either direction, in degrees, in [0, 80]."""
    scale: float = 0.0
    """Largest relative change of size in either direction, in [0, 0.9]."""
    shift: float = 0.0
    """Largest shift along each axis in either direction, in pixels, ≥ 0."""

    def __post_init__(self) -> None:
        for name, high in {"degrees": 180, "shear": 80, "scale": 0.9, "shift": 1e6}.items():
            take(self, name, check_number(name, getattr(self, name), low=0, high=high))

    def __call__(self, images: Tensor) -> Tensor:
        if not isinstance(images, Tensor) or images.ndim not in (3, 4):
            given = tuple(images.shape) if isinstance(images, Tensor) else images
            allowed = "images, (batch, height, width) or (batch, channels, height, width)"
            raise InputError(
                f"augmentation needs {allowed}; these inputs are {quoted(images)}", name="images", value=given, allowed=allowed
            )
        batch, (height, width) = len(images), images.shape[-2:]
        largest = [
            math.radians(self.degrees),
            math.radians(self.shear),
            self.scale,
            2 * self.shift / width,
            2 * self.shift / height,
        ]
        draws = torch.empty(5, batch, device=images.device, dtype=images.dtype).uniform_(-1, 1)
        angle, shear, growth, across, down = (draws * draws.new_tensor(largest)[:, None]).unbind()
        size, shear = 1 + growth, shear.tan()
        cos, sin = angle.cos() / size, angle.sin() / size  # the grid maps the new image's pixels to the old one's
        aspect = height / width  # the grid's coordinates run from −1 to 1 along both axes
        to_across = [cos, (cos * shear - sin) * aspect, across]
        to_down = [sin / aspect, sin * shear + cos, down]
        maps = torch.stack(to_across + to_down, -1).view(-1, 3)
        grid = (maps @ _pixels(height, width, images.dtype, images.device)).view(batch, 2, height, width).permute(0, 2, 3, 1)
        planes = images.reshape(batch, -1, height, width)
        return F.grid_sample(planes, grid, align_corners=False).view(images.shape)


@lru_cache(maxsize=8)
def _pixels(height: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the homogeneous coordinates (across, down, 1) of the centres of all pixels, in [−1, 1], as a matrix (3, pixels).

    One product with it makes the grids of a batch twenty times as fast as ``affine_grid``, which multiplies pixel by pixel.
    """
    down, across = ((2 * torch.arange(n, dtype=dtype, device=device) + 1) / n - 1 for n in (height, width))
    centres = torch.stack([across.expand(height, width), down[:, None].expand(height, width)]).flatten(1)
    return torch.cat([centres, torch.ones_like(centres[:1])])


def augmented(augment: Callable[[Any], Any], inputs: Inputs) -> Any:
    """A batch of inputs after ``augment``, which is given several inputs in their form.

    Raises:
        InputError: ``augment`` does not return tensors, or returns another number of examples.
    """
    changed: object = augment(inputs)
    if {tensor.shape[:1] for tensor in tensors_in(changed)} != {(num_examples(inputs),)}:
        raise InputError(
            f"augment returns {quoted(changed)} for inputs of shape {shapes_of(inputs)}; it must return a tensor of the same "
            "number of examples",
            name="augment",
            value=changed,
            allowed="a function that returns a tensor of as many examples",
        )
    return changed
