"""A recorded training as a GIF and, with ffmpeg, as an MP4: every weight matrix, pruned, at each recorded moment."""

from __future__ import annotations

import io
import math
import subprocess
from collections.abc import Callable, Iterator

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from torch import Tensor

from pyro_vd._core.ending import temporary_folder
from pyro_vd._core.messages import one_line
from pyro_vd.evaluation.score import ERROR, Score
from pyro_vd.plots.weights import SHADES, folded, shaded, weight_matrices
from pyro_vd.training.frame_files import SCALE, Frames

GIF_BYTES = 2_000_000
"""The largest size of a GIF in bytes; it shows as many of the frames as this size allows."""

_SECONDS = 10.0  # duration of a film
_LAST = 2.0  # seconds of them for which the last frame stays

Pixels = np.ndarray
"""A picture, ``(height, width, 3)`` as uint8."""


class Painter:
    """A painter of frames, which draws the parts that all frames share only once.

    Args:
        frames: the recorded training.
    """

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        figure = weight_matrices(self.weights(0), self.titles(0), self.heading(0))
        self._canvas = FigureCanvasAgg(figure)
        axes = figure.axes[: len(frames.weights)]
        self._images = [part.images[0] for part in axes]
        self._texts = [*(part.title for part in axes), *figure.texts]
        for artist in (*self._images, *self._texts):
            artist.set_animated(True)
        self._canvas.draw()
        self._still = self._canvas.copy_from_bbox(figure.bbox)

    def weights(self, index: int) -> list[Tensor]:
        """Return the weight matrices of a frame."""
        return [torch.from_numpy(values[index] / np.float32(SCALE)) for values in self.frames.weights.values()]

    def titles(self, index: int) -> list[str]:
        """Return the title of each matrix of a frame, with the share of its weights that is removed."""
        titles = []
        for number, (values, left) in enumerate(zip(self.frames.weights.values(), self.frames.left(index), strict=True), 1):
            units, weights = len(values[index]), values[index].size
            shape = f"{units:,} units × {weights // units:,} inputs"
            titles.append(f"layer {number}, {shape}: {_padded(100 * (1 - left / weights), 5)} % removed")
        return titles

    def heading(self, index: int) -> str:
        """Return the title of a frame: epoch, score, compression, and kilobytes of the sparse file without compaction."""
        frames = self.frames
        when, smaller = frames.epoch[index], frames.compression(index)
        score = Score(frames.score_name, frames.score[index])
        quality = f"accuracy {_padded(100 - score.shown, 5)} %" if score.name == ERROR else str(score)
        size = f"{_padded(smaller, 5)}× fewer weights" if math.isfinite(smaller) else "nothing left"
        if frames.sizes is not None:
            size += f",{_padded(frames.sizes[index, 2] / 1000, 8)} kB"
        last = math.floor(frames.epoch[-1] + 1e-6)
        return (
            f"epoch {_padded(math.floor(when + 1e-6), len(str(last)), 0)} of {last}    {size}\n{quality} ({frames.measured_on})"
        )

    def paint(self, index: int) -> Pixels:
        """Return the picture of a frame."""
        self._canvas.restore_region(self._still)
        for image, weight in zip(self._images, self.weights(index), strict=True):
            image.set_data(shaded(folded(weight)))
        for text, content in zip(self._texts, [*self.titles(index), self.heading(index)], strict=True):
            text.set_text(content)
        for artist in (*self._images, *self._texts):
            self._canvas.figure.draw_artist(artist)
        return np.asarray(self._canvas.buffer_rgba())[..., :3].copy()


def _padded(value: float, width: int, digits: int = 1) -> str:
    """Return a number as text, padded with spaces as wide as a digit, so that its digits do not move between frames."""
    return f"{value:{width},.{digits}f}".replace(" ", "\u2007")


def chosen_frames(number: int, shown: int) -> list[int]:
    """Return the indices of the frames that a GIF shows.

    The first and the last frame are always among them. The others are evenly spaced in √time, which is closer at the start of
    the training, where more changes.

    Args:
        number: the number of recorded frames.
        shown: the largest number of frames to show.
    """
    if shown >= number:
        return list(range(number))
    return sorted({round((number - 1) * (k / max(1, shown - 1)) ** 2) for k in range(shown)} | {number - 1})


def gif_of(painter: Painter, max_frames: int, on_frame: Callable[[], None] = lambda: None) -> tuple[bytes, list[int]]:
    """Return an endless GIF of at most :data:`GIF_BYTES`, and the indices of its frames.

    Args:
        painter: draws the frames.
        max_frames: the largest number of frames, at least 2; there are fewer where the GIF would be too large.
        on_frame: called after every frame that is drawn.
    """
    number = len(painter.frames)
    shown = min(max_frames, number)  # at least 2
    while True:
        indices = chosen_frames(number, shown)
        content = _gif(painter, indices, on_frame)
        if len(content) <= GIF_BYTES or shown <= 2:
            return content, indices
        shown = max(2, int(0.95 * shown * GIF_BYTES / len(content)))


def _gif(painter: Painter, indices: list[int], on_frame: Callable[[], None]) -> bytes:
    palette = Image.new("P", (1, 1))
    colours = np.vstack([SHADES, np.linspace(0, 1, 16)[:, None].repeat(4, 1)])  # with shades of grey for the letters
    palette.putpalette(np.rint(255 * colours[:, :3]).astype(np.uint8).tobytes())

    def pictures() -> Iterator[Image.Image]:
        for index in indices:
            yield Image.fromarray(painter.paint(index)).quantize(palette=palette, dither=Image.Dither.NONE)
            on_frame()

    first, *rest = pictures()
    buffer = io.BytesIO()
    milliseconds = round(max(40, 1000 * (_SECONDS - _LAST) / max(1, len(indices) - 1)), -1)
    durations = [milliseconds] * len(rest) + [1000 * _LAST]
    first.save(buffer, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)
    return buffer.getvalue()


def mp4_of(painter: Painter, ffmpeg: str, on_frame: Callable[[], None] = lambda: None) -> bytes:
    """Return an MP4 film of all frames, made by the program ``ffmpeg``.

    Args:
        painter: draws the frames.
        ffmpeg: the path of the program.
        on_frame: called after every frame that is drawn.

    Raises:
        OSError: ffmpeg failed; the message contains what it printed.
    """
    number = len(painter.frames)
    rate = int(np.clip(number / (_SECONDS - _LAST), 1, 60))
    last = painter.paint(number - 1)
    height, width = last.shape[:2]
    with temporary_folder() as folder:
        target, messages = folder / "film.mp4", folder / "messages"
        source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-framerate", str(rate), "-i", "-"]
        line = [ffmpeg, "-loglevel", "error", *source, "-pix_fmt", "yuv420p", "-movflags", "+faststart", str(target)]
        with messages.open("wb") as errors, subprocess.Popen(line, stdin=subprocess.PIPE, stderr=errors) as process:
            assert process.stdin is not None
            try:
                for index in range(number):
                    process.stdin.write(painter.paint(index).data)
                    on_frame()
                process.stdin.write(last.tobytes() * round(_LAST * rate))
                process.stdin.close()
            except BrokenPipeError:
                pass  # ffmpeg has ended early, and has printed the reason
            except BaseException:
                process.kill()  # before its folder is removed
                raise
        if process.returncode:
            raise OSError(f"{ffmpeg} failed: {one_line(messages.read_text(errors='replace')) or process.returncode}")
        return target.read_bytes()
