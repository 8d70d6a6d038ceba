"""Images unlike those that a network of digits was trained on, in the same shape and range."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_vd.data.dataset import Dataset
from pyro_vd.data.loading import data_root, load_data
from pyro_vd.plots.drawing import image_shape


def foreign_images(data: Dataset, data_dir: str | None = None) -> dict[str, Tensor]:
    """Sets of images by name, each ``(n, h, w)`` in [0, 1], the same at every call.

    Test images turned by 90 degrees (some digits stay a digit) and under Gaussian noise of standard deviation 0.5, cut to
    [0, 1]; smooth random fields. For 28 × 28 also scikit-learn's digits, which come from another scanner, enlarged to that
    size, and Fashion-MNIST where it is in the torchvision root already.

    Args:
        data: square images; its test images are changed; its training images are not used.
        data_dir: torchvision root; see :func:`~pyro_vd.data.loading.data_root`.
    """
    sides = image_shape(data.x_test.shape[1:])
    assert sides is not None
    x = data.x_test.reshape(len(data.x_test), *sides)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    found = {"rotated": x.rot90(1, (1, 2)), "noisy": (x + 0.5 * noise).clamp(0, 1), "random fields": random_fields(x.shape)}
    if x.shape[1:] == (28, 28):
        small = load_data("digits").x_test.reshape(-1, 1, 8, 8)
        found["8 × 8 digits"] = F.interpolate(small, size=(28, 28), mode="bilinear")[:, 0]
        if any((data_root(data_dir) / "FashionMNIST" / "raw").glob("t10k-images-idx3-ubyte*")):
            found["Fashion-MNIST"] = load_data("fashion-mnist", data_dir).x_test
    return found


def random_fields(shape: tuple[int, ...]) -> Tensor:
    """White noise ``(n, h, w)`` smoothed over a tenth of the width, each image scaled to [0, 1]."""
    from scipy.ndimage import gaussian_filter

    white = np.random.default_rng(0).standard_normal(shape, np.float32)
    smooth = gaussian_filter(white, sigma=(0, shape[-1] / 10, shape[-1] / 10), mode="wrap")
    low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
    return torch.from_numpy((smooth - low) / (high - low))
