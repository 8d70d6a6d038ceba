"""What the files of a compression belong to, so that those of another network or recipe are not taken up."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.storage import checksum, write_atomically

COMPRESSION = "compression.txt"
"""The file in the folder of a compression that says of which network it is."""
COMPRESSED = "small.safetensors"
"""The file in the folder of ``pyro-vd compress`` from which the compressed network is loaded again."""
_MOST_SHOWN = 3
"""The most lines in which a message shows a difference."""


def claim(path: Path, identity: Mapping[str, object], resume: bool) -> None:
    """Write what the files beside ``path`` are of; to resume, compare it with what was written before.

    Args:
        path: the file.
        identity: names and values.
        resume: whether the files beside it are to be taken up.

    Raises:
        InputError: they are of something else.
    """
    text = "".join(f"{name}: {value}\n" for name, value in identity.items())
    if not resume or not path.exists():
        write_atomically(path, text.encode())
        return
    found = path.read_bytes().decode(errors="replace")
    if found != text:
        here = found.splitlines()
        different = [line for line in text.splitlines() if line not in here][:_MOST_SHOWN]
        raise InputError(
            f"{str(path)!r} is of another compression: it does not say {'; '.join(map(repr, different)) or 'the same'}",
            name="folder",
            value=str(path.parent),
        )


def weights_of(net: nn.Module) -> str:
    """A checksum of all that a network has learnt, for :func:`claim`."""
    return f"CRC-32 {checksum([*net.parameters(), *net.buffers()])}"
