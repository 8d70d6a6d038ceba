"""Images of every mode and bit depth that Pillow opens are read right, or refused: no bit is dropped without a word."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import refuses, write_images

from pyro_vd import InputError, load_data
from pyro_vd.data.image_files import read_image

LOSSLESS = (".png", ".tif", ".bmp", ".ppm", ".webp")
EIGHT_BITS = {"1", "L", "P", "RGB", "RGBX"}
RNG = np.random.default_rng(0)


def picture(mode: str) -> Image.Image:
    """Random pixels of a mode; every channel, alpha too, takes many values."""
    if mode == "P":
        coloured = Image.fromarray(RNG.integers(0, 256, (8, 6, 3), np.uint8))
        return coloured.quantize(40)
    if mode in ("1", "PA", "La", "RGBa", "YCbCr", "LAB", "HSV", "CMYK", "RGBX"):
        channels = len(Image.new(mode, (1, 1)).getbands())
        size = 8 if mode == "1" else 48 * channels
        return Image.frombytes(mode, (6, 8), RNG.integers(0, 256, size, np.uint8).tobytes())
    item = {"F": np.float32, "I": np.int32}.get(mode, np.uint16 if mode.startswith("I;16") else np.uint8)
    channels = len(Image.new(mode, (1, 1)).getbands())
    values = RNG.integers(0, 256 if item is np.uint8 else 60000, 48 * channels).astype(item)
    return Image.frombytes(mode, (6, 8), values.tobytes())


@pytest.mark.parametrize("mode", [mode for mode in Image.MODES if not mode.startswith("BGR")])  # no image of Pillow has them
def test_every_mode_in_every_format(tmp_path: Path, mode: str) -> None:
    made = picture(mode)
    tried = 0
    for suffix in LOSSLESS:
        path = tmp_path / f"image{suffix}"
        try:
            made.save(path, **({"lossless": True} if suffix == ".webp" else {}))
            with Image.open(path) as opened:
                kept = opened.mode
                opened.load()
        except (OSError, ValueError, KeyError, AttributeError):
            continue  # this format has no such mode, or Pillow cannot read what it wrote: older ones do so with YCbCr as .tif
        tried += 1
        try:
            found = read_image(path)
        except InputError:
            assert kept not in EIGHT_BITS, (suffix, kept)
            continue
        assert kept in EIGHT_BITS, (suffix, kept)
        with Image.open(path) as opened:
            assert np.array_equal(found, np.asarray(opened.convert("RGB")).transpose(2, 0, 1))
        if mode in EIGHT_BITS:
            assert np.array_equal(found, np.asarray(made.convert("RGB")).transpose(2, 0, 1)), suffix
    assert tried or mode in ("La", "RGBa", "PA", "HSV", "I;16N", "I;16L"), "no format holds these"


def png(bits: int, colour: int, channels: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 4 x 2 random pixels, of a bit depth and a type of colour."""
    rows = b"".join(b"\0" + RNG.integers(0, 256, 4 * channels * bits // 8, np.uint8).tobytes() for _ in range(2))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 4, 2, bits, colour, 0, 0, 0)),
        *chunks,
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def tiff(bits: int, channels: int) -> bytes:
    """A TIFF of 4 x 2 random pixels, of a bit depth, without compression."""
    pixels = RNG.integers(0, 256, 8 * channels * bits // 8, np.uint8).tobytes()
    depths = struct.pack(f"<{channels}H", *[bits] * channels)
    tags = [(256, 4, 1, 4), (257, 4, 1, 2), (258, 3, channels, 8), (259, 3, 1, 1), (262, 3, 1, 2 if channels > 1 else 1)]
    tags += [(273, 4, 1, 8 + len(depths)), (277, 3, 1, channels), (278, 4, 1, 2), (279, 4, 1, len(pixels))]
    if channels == 1:
        tags[2] = (258, 3, 1, bits)
    start = 8 + len(depths) + len(pixels)
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<I", start) + depths + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


def pixmap(kind: str, largest: int, channels: int) -> bytes:
    item = np.uint8 if largest < 256 else np.dtype(">u2")
    return f"{kind}\n4 2\n{largest}\n".encode() + RNG.integers(0, largest + 1, 8 * channels).astype(item).tobytes()


DEPTHS: dict[str, tuple[str, Callable[[], bytes], bool]] = {
    "PNG, grey, 8 bits": (".png", lambda: png(8, 0, 1), True),
    "PNG, grey, 4 bits": (".png", lambda: png(4, 0, 1), True),
    "PNG, grey, 2 bits": (".png", lambda: png(2, 0, 1), True),
    "PNG, grey, 16 bits": (".png", lambda: png(16, 0, 1), False),
    "PNG, RGB, 8 bits": (".png", lambda: png(8, 2, 3), True),
    "PNG, RGB, 16 bits": (".png", lambda: png(16, 2, 3), False),
    "PNG, grey and alpha, 16 bits": (".png", lambda: png(16, 4, 2), False),
    "PNG, RGBA, 16 bits": (".png", lambda: png(16, 6, 4), False),
    "PNG, RGB with a transparent colour that is not there": (".png", lambda: png(8, 2, 3, (b"tRNS", bytes(6))), True),
    "TIFF, RGB, 8 bits": (".tif", lambda: tiff(8, 3), True),
    "TIFF, RGB, 16 bits": (".tif", lambda: tiff(16, 3), False),
    "TIFF, grey, 8 bits": (".tif", lambda: tiff(8, 1), True),
    "TIFF, grey, 16 bits": (".tif", lambda: tiff(16, 1), False),
    "PGM, up to 15": (".pgm", lambda: pixmap("P5", 15, 1), True),
    "PGM, up to 65535": (".pgm", lambda: pixmap("P5", 65535, 1), False),
    "PPM, up to 255": (".ppm", lambda: pixmap("P6", 255, 3), True),
    "PPM, up to 1023": (".ppm", lambda: pixmap("P6", 1023, 3), False),
}


@pytest.mark.parametrize("name", DEPTHS)
def test_every_bit_depth(tmp_path: Path, name: str) -> None:
    suffix, content, is_read = DEPTHS[name]
    (path := tmp_path / f"a{suffix}").write_bytes(content())
    if is_read:
        assert read_image(path).shape == (3, 2, 4)
    else:
        with refuses(str(path)) as caught:
            read_image(path)
        assert "8 bits per channel" in str(caught.value)


def _paletted() -> Image.Image:
    made = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).convert("P")
    made.info["transparency"] = 3
    return made


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (lambda: Image.new("RGBA", (4, 3), (1, 2, 3, 254)), {}),
        (lambda: Image.new("LA", (4, 3), (1, 0)), {}),
        (_paletted, {}),
        (lambda: Image.new("RGB", (4, 3), (1, 2, 3)), {"transparency": (1, 2, 3)}),
        (lambda: Image.new("L", (4, 3), 7), {"transparency": 7}),
    ],
)
def test_transparency(tmp_path: Path, make: Callable[[], Image.Image], options: dict[str, object]) -> None:
    make().save(path := tmp_path / "a.png", **options)
    with refuses(str(path), "transparent pixels"):
        read_image(path)


def test_opaque_alpha_is_no_loss(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (3, 4, 3), np.uint8)
    Image.fromarray(np.dstack([pixels, np.full((3, 4), 255, np.uint8)])).save(path := tmp_path / "a.png")
    assert np.array_equal(read_image(path), pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".gif"])
def test_several_pictures(tmp_path: Path, suffix: str) -> None:
    pictures = [Image.fromarray(RNG.integers(0, 256, (3, 4, 3), np.uint8)) for _ in range(3)]
    pictures[0].save(path := tmp_path / f"a{suffix}", save_all=True, append_images=pictures[1:])
    with refuses(str(path), "3 pictures"):
        read_image(path)


def test_a_folder_with_one_such_image(tmp_path: Path) -> None:
    """The file is named; without it, pixels are those of the files."""
    root = write_images(tmp_path / "images")
    path = root / "train" / "dog" / "1.png"
    data = load_data(str(root))
    with Image.open(path) as image:
        assert torch.equal(data.x_train[4] * 255, torch.from_numpy(np.asarray(image).transpose(2, 0, 1).astype(np.float32)))
    path.write_bytes(png(16, 2, 3))
    with refuses(str(path)):
        load_data(str(root))
