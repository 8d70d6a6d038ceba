"""The pruned network again and again while it is trained, recorded for an animation: a small file per epoch."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pyro_vd._core.arguments import check_number
from pyro_vd._core.array_files import read_arrays
from pyro_vd._core.errors import InputError
from pyro_vd._core.reading import reading
from pyro_vd._core.storage import clear_temporaries, write_atomically
from pyro_vd.data.dataset import Arrays
from pyro_vd.evaluation.deployed import stored_size
from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.score import score_of
from pyro_vd.networks.layers import named_weights
from pyro_vd.networks.sizes import weight_counts

SCALE = 127
"""A weight of 1, or more, is recorded as this; steps are linear, and only zero is recorded as zero."""

EXAMPLES = 500
"""At most so many examples are measured per frame: all of them would cost more than the training between two frames."""

_SITE = "weight of "
_SAID = ("measured on", "score name")
_SIZES = ("weights", "kept weights", "sparse bytes")


class FrameRecorder:
    """Records the pruned network as int8, its error and its size at equal distances while :func:`~pyro_vd.fit` runs.

    One file per epoch, written atomically before that epoch's checkpoint: a training that was killed and is resumed writes
    the epoch it was in once more, and ends with the same files as one that was not. Nothing random is drawn.

    Args:
        folder: made if it is not there; files of the same epochs in it are replaced.
        an_epoch: frames per epoch, at least 1; at most one per step is recorded.
        network: gives the network as it would be pruned now.
        data: the first :data:`EXAMPLES` of them are measured at every frame.
        measured_on: what they are, for the title, such as "validation".
        likelihood: as of :func:`~pyro_vd.evaluation.score.score_of`.

    Raises:
        InputError: ``an_epoch`` below 1.
        OSError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        an_epoch: int,
        network: Callable[[], nn.Module],
        data: Arrays,
        measured_on: str,
        likelihood: Observed | None = None,
    ) -> None:
        an_epoch = check_number("an_epoch", an_epoch, low=1, whole=True)
        self._folder, self._an_epoch, self._network = folder, an_epoch, network
        self._data, self._likelihood = (data[0][:EXAMPLES], data[1][:EXAMPLES]), likelihood
        self._measured_on = f"{len(self._data[0])} {measured_on} examples"
        self._taken: list[dict[str, np.ndarray]] = []
        folder.mkdir(parents=True, exist_ok=True)
        clear_temporaries(folder)
        self._take(0.0)  # before training
        self._write(0)

    def __call__(self, epoch: int, step: int, steps: int) -> None:
        """A step was taken, the ``step``-th, from 1, of ``steps`` of an epoch, counted from 0."""
        if step * self._an_epoch // steps > (step - 1) * self._an_epoch // steps:
            self._take(epoch + step / steps)
        if step == steps:
            self._write(epoch + 1)

    @torch.no_grad()
    def _take(self, epoch: float) -> None:
        net = self._network()
        score = score_of(net, self._on_device_of(net), self._likelihood)
        self._score_name = score.name
        frame = {"epoch": np.asarray(epoch), "score": np.asarray(score.value)}
        for name, weight in named_weights(net):
            scaled = (weight.clamp(-1, 1) * SCALE).round()
            frame[_SITE + name] = torch.where(scaled == 0, weight.sign(), scaled).to(torch.int8).cpu().numpy()
        counts = *weight_counts(net), stored_size(net).sparse_bytes
        frame |= {key: np.asarray(count) for key, count in zip(_SIZES, counts, strict=True)}
        self._taken.append(frame)

    def _on_device_of(self, net: nn.Module) -> Arrays:
        device = next(net.parameters()).device
        self._data = self._data[0].to(device), self._data[1].to(device)
        return self._data

    def _write(self, epoch: int) -> None:
        arrays = {key: np.stack([frame[key] for frame in self._taken]) for key in self._taken[0]}
        said = {"measured on": np.asarray(self._measured_on), "score name": np.asarray(self._score_name)}
        write_atomically(self._folder / f"{epoch:05}.npz", _packed(arrays | said))
        self._taken = []


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    """An ``.npz`` without dates, compressed at the fastest level; numpy's own function knows only a slow one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{key}.npy"), content.getbuffer(), zipfile.ZIP_DEFLATED, compresslevel=1)
    return buffer.getvalue()


@dataclass(frozen=True)
class Frames:
    """A recorded training, n frames of it.

    Attributes:
        epoch: when, ``(n,)``, in epochs; 0 is before training.
        score: how wrong the network predicts, ``(n,)``; see :class:`~pyro_vd.evaluation.score.Score`.
        weights: by site, ``(n, …)`` as int8: :data:`SCALE` times the weight, cut to [−1, 1]; 0 only where it is pruned.
        measured_on: what the score is of.
        score_name: what the score is, such as ``error``.
        sizes: ``(n, 3)``: weights of the whole network, how many of them are kept, and the bytes of the file of its non-zeros
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
        """Weights that are not pruned, per layer."""
        return [int(np.count_nonzero(values[index])) for values in self.weights.values()]

    def compression(self, index: int) -> float:
        """|W| / |W kept|, of all weights or, in a recording of an earlier version, those shown; infinite where none is left."""
        if self.sizes is None:
            count, left = sum(values[index].size for values in self.weights.values()), sum(self.left(index))
        else:
            count, left, _ = self.sizes[index].tolist()
        return count / left if left else math.inf


def read_frames(folder: Path) -> Frames:
    """All that a :class:`FrameRecorder` has left in a folder.

    Raises:
        InputError: the folder holds none, an epoch is missing, or a file is broken.
    """
    paths = sorted(folder.glob("[0-9]*.npz"))
    if not paths:
        raise InputError(
            f"{folder.parent} holds no frames of its training: the recipe's key train.frames (frames per epoch) was 0; "
            "train again with, say, --train.frames=10"
        )
    if missing := [f"{epoch:05}.npz" for epoch in range(len(paths)) if not (folder / f"{epoch:05}.npz").is_file()]:
        raise InputError(f"{folder / missing[0]} is missing; every epoch up to the last must be there")
    parts = [_read(path) for path in paths]
    shapes = [{key: (array.dtype, array.shape[1:]) for key, array in part.items()} for part in parts]
    for path, shape in zip(paths, shapes, strict=True):
        if shape != shapes[0]:
            raise InputError(f"{path} is of another training than {paths[0]}")
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0] if key not in _SAID}
    sites = {key.removeprefix(_SITE): array for key, array in arrays.items() if key.startswith(_SITE)}
    sizes = np.stack([arrays[key] for key in _SIZES], 1) if arrays.keys() >= set(_SIZES) else None
    return Frames(arrays["epoch"], arrays["score"], sites, str(parts[0]["measured on"]), str(parts[0]["score name"]), sizes)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of one file, of the names, types and dimensions that a recorder writes."""
    part = read_arrays(path, "a file of frames")
    wanted = {"epoch": ("f", 1), "score": ("f", 1), **dict.fromkeys(_SAID, ("U", 0))}
    if not wanted.keys() < part.keys():
        raise InputError(f"{path} holds no frames; record them with train.frames")
    wanted |= {key: ("i", 1) for key in _SIZES if key in part}
    for name, array in part.items():
        kind, ndim = wanted.get(name, ("i", None))
        is_right = array.ndim == ndim if name in wanted else name.startswith(_SITE) and array.ndim > 2 and array.itemsize == 1
        if array.dtype.kind != kind or not is_right or (array.ndim and len(array) != len(part["epoch"])):
            raise InputError(f"{path} is corrupt: {name!r} is {array.dtype} {array.shape}, which no frame has")
    with reading(path, "a file of frames"):
        [str(part[key]).encode() for key in _SAID]  # any four bytes can stand for a character
    return part
