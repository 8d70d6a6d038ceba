"""Atomic writes of files, and checkpoints that are read without running code from the file."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import re
import secrets
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyro_vd._core.ending import unfinished
from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line
from pyro_vd._core.plain_content import check_plain
from pyro_vd._core.reading import read_bytes, reading
from pyro_vd._core.sealed import check_zip, seal_zip

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = "pyro_vd checkpoint 3"
_CHECKPOINT = "a pyro_vd checkpoint"
_TEMPORARY = ".pyro_vd-tmp"
_NUMBERS = re.compile(r'\[\n([^"\[\]{}]*)\]')
"""A list of numbers over several lines of JSON; text in JSON has no line breaks of its own."""


def write_atomically(path: Path, content: bytes | memoryview | Iterable[bytes | memoryview]) -> None:
    """Write a file atomically (temporary file, fsync, rename), so that a failure leaves the old content.

    The content is given whole or in parts, of which one is in memory at a time. A signal handler may raise between any two
    steps, as for Ctrl-C, or call ``end_process``; the temporary file is removed then as well. Where ``path`` is a link, the
    file that it leads to is written, also if that is not there yet.

    Raises:
        OSError: the disk is full, or the folder is not writable; the message names the file.
    """
    # Both names are bound before the file is created and opened, so that it can be closed and removed after any exception.
    temporary: Path | None = None
    file = io.FileIO.__new__(io.FileIO)
    try:
        target = _file_at(path)
        temporary = target.parent / f".{secrets.token_hex(8)}{_TEMPORARY}"
        with unfinished(temporary):
            io.FileIO.__init__(file, temporary, "x")
            for part in [content] if isinstance(content, bytes | memoryview) else content:
                left = memoryview(part)
                while left:
                    left = left[file.write(left) :]
            os.fsync(file.fileno())
            file.close()
            temporary.replace(target)
    except BaseException as error:
        file.close()
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
        if isinstance(error, OSError):
            why = error.strerror or one_line(error)
            raise OSError(error.errno, f"{why}; nothing was changed", str(path)) from error
        raise


def _file_at(path: Path) -> Path:
    """Return the file to write: the path itself, or what a link there leads to.

    Raises:
        OSError: links lead in a circle, or something else than a file is there.
    """
    target = Path(os.path.realpath(path)) if path.is_symlink() else path
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if target.exists() and not target.is_file():  # a device, for example, would become a file
        raise OSError(errno.EINVAL, "it exists and is not a file", str(path))
    return target


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically, in the format of the file's suffix and the resolution of its style."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:])
    write_atomically(path, buffer.getbuffer())


def is_temporary(path: Path) -> bool:
    """Return whether a file is a temporary one of :func:`write_atomically`."""
    return path.name.startswith(".") and path.name.endswith(_TEMPORARY)


def clear_temporaries(folder: Path) -> None:
    """Remove temporary files of processes that were killed inside :func:`write_atomically`."""
    for path in folder.glob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor's numbers, row by row, without a copy where it is on the CPU and contiguous."""
    content: memoryview = tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().data
    return content


def checksum(tensors: Iterable[Tensor], value: int = 0) -> int:
    """Return the CRC-32 of the tensors' bytes, continued from ``value``; it detects damage, not deliberate changes."""
    for tensor in tensors:
        value = zlib.crc32(bytes_of(tensor), value)
    return value


def as_json(content: Any, indent: int | None = None) -> str:
    """Return JSON text; NaN and infinity, which JSON does not have, become null.

    With an indent, a list of numbers stays in one line: the indices of 20,000 words would take as many.
    """
    text = json.dumps(_finite(content), indent=indent)
    return text if indent is None else _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write ``state``, of tensors and plain containers, atomically and with a digest.

    Raises:
        InputError: it holds what :func:`load_checkpoint` would refuse; nothing is written.
        OSError: see :func:`write_atomically`.
    """
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, **state}, buffer)
    check_plain(str(path), state, len(buffer.getbuffer()))
    write_atomically(path, seal_zip(buffer))


def fits_checkpoint(content: Any) -> bool:
    """Whether a checkpoint can hold this, which is read without running code: numbers, text, tensors, lists and mappings."""
    try:
        torch.save(content, buffer := io.BytesIO())
        found = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
        check_plain("the content", found, len(buffer.getbuffer()))
    except Exception:  # pickling asks the objects, which may raise anything
        return False
    return True


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file of :func:`save_checkpoint` onto the CPU, without running code from it.

    Raises:
        InputError: the file is missing, truncated or changed, is not such a file, or holds more than its size allows.
    """
    with reading(path, _CHECKPOINT):
        content = read_bytes(path, _CHECKPOINT)
        check_zip(str(path), _CHECKPOINT, content)
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        check_plain(str(path), state, len(content))
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        given = state.get("format") if isinstance(state, dict) else None
        message = f"{path} is not a pyro_vd checkpoint: it lacks the mark {_FORMAT!r}"
        raise InputError(message, name=str(path), value=given, allowed=f"marked {_FORMAT!r}")
    return state
