"""Files that are either whole or not there: atomic writes, checkpoints read without running anything."""

from __future__ import annotations

import io
import json
import math
import os
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyro_vd.errors import InputError
from pyro_vd.reading import read_bytes, reading
from pyro_vd.sealed import check_zip, seal_zip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = "pyro_vd checkpoint 2"
_CHECKPOINT = "a pyro_vd checkpoint"
_TEMPORARY = ".pyro_vd-tmp"


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Replace ``path`` by ``content``, or leave it as it was: temporary file, fsync, rename.

    Raises:
        OSError: the disk is full, or the folder cannot be written; the message names the file.
    """
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
