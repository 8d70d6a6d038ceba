"""The files of a recorded training: one ``.npz`` per epoch, with the weights of a few moments as int8."""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pyro_vd._core.array_files import read_arrays
from pyro_vd._core.errors import InputError
from pyro_vd._core.reading import reading
from pyro_vd._core.storage import write_atomically
from pyro_vd.data.dataset import Arrays
from pyro_vd.evaluation.deployed import stored_size
from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.score import score_of
from pyro_vd.networks.layers import named_weights
from pyro_vd.networks.sizes import weight_counts

SCALE = 127
"""The integer for a weight of 1 or more; the scale is linear, and only a weight of zero becomes zero."""

Frame = dict[str, np.ndarray]
"""One moment of a training: arrays by name."""

_SITE = "weight of "
_SAID = ("measured on", "score name")
_SIZES = ("weights", "kept weights", "sparse bytes")


@torch.no_grad()
def frame_of(net: nn.Module, epoch: float, data: Arrays, likelihood: Observed | None, measured_on: str) -> Frame:
    """Record a network at one moment.

    Args:
        net: the pruned network.
        epoch: the moment, in epochs.
        data: what its score is measured on, on its device.
        likelihood: as of :func:`~pyro_vd.evaluation.score.score_of`.
        measured_on: what the data are, for the title of an animation.
    """
    score = score_of(net, data, likelihood)
    frame = {"epoch": np.asarray(epoch), "score": np.asarray(score.value)}
    for name, weight in named_weights(net):
        scaled = (weight.clamp(-1, 1) * SCALE).round()
        frame[_SITE + name] = torch.where(scaled == 0, weight.sign(), scaled).to(torch.int8).cpu().numpy()
    counts = *weight_counts(net), stored_size(net).sparse_bytes
    frame |= {key: np.asarray(count) for key, count in zip(_SIZES, counts, strict=True)}
    return frame | {"measured on": np.asarray(measured_on), "score name": np.asarray(score.name)}


def write_frames(folder: Path, epoch: int, frames: list[Frame]) -> None:
    """Write the frames of one epoch, at least one, atomically; epoch 0 is the network before training."""
    arrays = {key: frames[-1][key] if key in _SAID else np.stack([frame[key] for frame in frames]) for key in frames[0]}
    write_atomically(folder / f"{epoch:05}.npz", _packed(arrays))


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    """An ``.npz`` file without dates, compressed at the fastest level; numpy's own function uses a slow one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), content.getbuffer(), zipfile.ZIP_DEFLATED, compresslevel=1)
    return buffer.getvalue()


@dataclass(frozen=True)
class Frames:
    """The n frames of a recorded training.

    Attributes:
        epoch: times of the frames in epochs, ``(n,)``; 0 is before training.
        score: score of the network, ``(n,)``; see :class:`~pyro_vd.evaluation.score.Score`.
        weights: by site, ``(n, …)`` as int8: :data:`SCALE` times the weight, clipped to [−1, 1]; 0 only where it is pruned.
        measured_on: the data that the score was measured on, such as "500 validation examples".
        score_name: name of the score, such as ``error``.
        sizes: ``(n, 3)``: number of weights of the network, number of those kept, and bytes of the file of its non-zeros
            (:class:`~pyro_vd.evaluation.deployed.StoredSize`); None in a recording of an earlier version.
    """

    epoch: np.ndarray
    score: np.ndarray
    weights: dict[str, np.ndarray]
    measured_on: str
    score_name: str
    sizes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.epoch)

    def left(self, index: int) -> list[int]:
        """Number of weights that are not pruned, per layer."""
        return [int(np.count_nonzero(values[index])) for values in self.weights.values()]

    def compression(self, index: int) -> float:
        """|W| / |W kept| of all weights, or of those shown in a recording of an earlier version; infinite if none is left."""
        if self.sizes is None:
            count, left = sum(values[index].size for values in self.weights.values()), sum(self.left(index))
        else:
            count, left, _ = self.sizes[index].tolist()
        return count / left if left else math.inf


def read_frames(folder: Path) -> Frames:
    """Read all frames that a :class:`~pyro_vd.training.FrameRecorder` has written to a folder.

    Raises:
        InputError: the folder holds no frames, an epoch is missing, or a file is broken.
    """
    paths = sorted(folder.glob("[0-9]*.npz"))
    if not paths:
        raise InputError(
            f"{folder.parent} holds no frames of its training: the recipe's key train.frames (frames per epoch) was 0; "
            "train again with, say, --train.frames=10",
            name=str(folder.parent),
        )
    if missing := [f"{epoch:05}.npz" for epoch in range(len(paths)) if not (folder / f"{epoch:05}.npz").is_file()]:
        file = str(folder / missing[0])
        raise InputError(f"{file} is missing; every epoch up to the last must be there", name=file)
    parts = [_read(path) for path in paths]
    shapes = [{key: (array.dtype, array.shape[1:]) for key, array in part.items()} for part in parts]
    for path, shape in zip(paths, shapes, strict=True):
        if shape != shapes[0]:
            raise InputError(f"{path} is of another training than {paths[0]}", name=str(path))
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0] if key not in _SAID}
    sites = {key.removeprefix(_SITE): array for key, array in arrays.items() if key.startswith(_SITE)}
    sizes = np.stack([arrays[key] for key in _SIZES], 1) if arrays.keys() >= set(_SIZES) else None
    return Frames(arrays["epoch"], arrays["score"], sites, str(parts[0]["measured on"]), str(parts[0]["score name"]), sizes)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one file, which must have the names, types and dimensions that a recorder writes."""
    part = read_arrays(path, "a file of frames")
    wanted = {"epoch": ("f", 1), "score": ("f", 1), **dict.fromkeys(_SAID, ("U", 0))}
    if not wanted.keys() < part.keys():
        missing = sorted(wanted.keys() - part.keys())
        raise InputError(
            f"{path} holds no frames, as it lacks {', '.join(missing)}; record them with train.frames",
            name=str(path),
            value=missing,
        )
    wanted |= {key: ("i", 1) for key in _SIZES if key in part}
    for name, array in part.items():
        kind, ndim = wanted.get(name, ("i", None))
        is_right = array.ndim == ndim if name in wanted else name.startswith(_SITE) and array.ndim > 2 and array.itemsize == 1
        if array.dtype.kind != kind or not is_right or (array.ndim and len(array) != len(part["epoch"])):
            raise InputError(
                f"{path} is corrupt: {name!r} is {array.dtype} {array.shape}, which no frame has", name=str(path), value=name
            )
    with reading(path, "a file of frames"):
        [str(part[key]).encode() for key in _SAID]  # any four bytes can stand for a character
    return part
