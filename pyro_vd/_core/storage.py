"""Files that are either whole or not there: atomic writes, checkpoints read without running anything."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import secrets
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.reading import read_bytes, reading
from pyro_vd._core.sealed import check_zip, seal_zip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = "pyro_vd checkpoint 3"
_CHECKPOINT = "a pyro_vd checkpoint"
_TEMPORARY = ".pyro_vd-tmp"


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replace ``path`` by ``content``, or leave it as it was: temporary file, fsync, rename.

    A signal handler that raises, as for Ctrl-C, may do so between any two steps; nothing is left behind then either.

    Raises:
        OSError: the disk is full, or the folder cannot be written; the message names the file.
    """
    # Both are known here before the file is there and open: whenever an exception comes, they can be removed and closed.
    temporary = path.parent / f".{secrets.token_hex(8)}{_TEMPORARY}"
    file = io.FileIO.__new__(io.FileIO)
    if path.exists() and not path.is_file():  # a device, say, would become a file
        raise OSError(errno.EINVAL, "it is there and no file; nothing was changed", str(path))
    try:
        io.FileIO.__init__(file, temporary, "x")
        left = memoryview(content)
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
        file.close()
        temporary.replace(path)
    except BaseException as error:
        file.close()
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise OSError(error.errno, f"{os.strerror(error.errno or 0)}; nothing was changed", str(path)) from error
        raise


def save_figure(figure: Figure, path: Path, dpi: float) -> None:
    """Write a figure, atomically, in the format that the file's name ends with."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], dpi=dpi)
    write_atomically(path, buffer.getbuffer())


def clear_temporaries(folder: Path) -> None:
    """Remove what a process left that was killed inside :func:`write_atomically`."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


def checksum(tensors: Iterable[Tensor], value: int = 0) -> int:
    """CRC-32 of the tensors' bytes, going on from ``value``, to notice a change; no protection from intent."""
    for tensor in tensors:
        value = zlib.crc32(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data, value)
    return value


def as_json(content: Any, indent: int | None = None) -> str:
    """JSON text; NaN and infinity become null, as JSON has neither."""
    return json.dumps(_finite(content), indent=indent)


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state``, tensors and plain containers only, with a digest of all of it, atomically."""
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, **state}, buffer)
    write_atomically(path, seal_zip(buffer.getvalue()))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what :func:`save_checkpoint` wrote, onto the CPU, never unpickling code.

    Raises:
        InputError: the file is truncated or changed, or not one of ours.
    """
    with reading(path, _CHECKPOINT):
        content = read_bytes(path, _CHECKPOINT)
        check_zip(str(path), _CHECKPOINT, content)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise InputError(f"{path} is not a pyro_vd checkpoint: it lacks the mark {_FORMAT!r}")
    return state
