"""Image files as pixels of 8 bits: what they hold is kept, or the file is refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from pyro_vd._core.errors import InputError
from pyro_vd._core.reading import check_unpacked, reading

_FORMATS = ("BMP", "GIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""The formats of which Pillow tells how many bits they have; an MPO is a JPEG with a preview behind it."""
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX")
_PACKED = ("BGR;15", "BGR;16")
"""Colours of 15 and 16 bits in all, not in each channel."""
_ALLOWED = "one opaque picture in grey or RGB, of at most 8 bits per channel"


def read_image(path: Path | str) -> np.ndarray:
    """Read an image as RGB pixels ``(3, h, w)`` of uint8; grey ones have three equal channels.

    Raises:
        InputError: the file is no image, or holds what such pixels cannot: more than 8 bits per channel, transparency, colours
            of another space, such as CMYK, or several pictures; or its pixels would take far more memory than it has bytes.
    """
    from PIL import Image

    with reading(path, "an image"), Image.open(path) as image:
        check_unpacked(Path(path), 4 * image.width * image.height)  # as Pillow holds colours
        if found := _more_than_pixels(image):
            raise InputError(f"{path} holds {found}; it must hold {_ALLOWED}", name=str(path), value=found, allowed=_ALLOWED)
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


def _more_than_pixels(image: Any) -> str:
    """Return what an image holds that would be lost; empty if nothing would."""
    if image.format not in _FORMATS:
        return f"an image of the format {image.format}"
    if image.mode not in _MODES:
        return f"pixels of the mode {image.mode}"
    for tile in image.tile:  # Pillow itself drops the lower bits
        arguments = tile[3] if isinstance(tile[3], tuple) else (tile[3],)
        stored = next((each for each in arguments if isinstance(each, str)), "")
        bits = re.search(r";(\d+)", stored)
        if bits and int(bits[1]) > 8 and stored not in _PACKED:
            return f"{bits[1]} bits per channel"
        if image.format == "PPM" and any(isinstance(each, int) and each > 255 for each in arguments[1:]):
            return "more than 8 bits per channel"
    if image.format != "MPO" and (number := getattr(image, "n_frames", 1)) > 1:
        return f"{number} pictures"
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] < 255:
        return "transparent pixels"
    return ""
