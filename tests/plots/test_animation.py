"""Animations show the recorded training: every pixel of a GIF, the titles, and the frames for ffmpeg."""

from __future__ import annotations

import io
import json
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import SMALL, contents, refused, run_cli

from pyro_vd import load_pruned
from pyro_vd.plots import animation
from pyro_vd.plots.animation import Painter, chosen_frames, gif_of
from pyro_vd.plots.weights import SHADES, first_layer_images, weight_matrices
from pyro_vd.training.frame_files import Frames, read_frames

SHAPES = {"1.weight": (100, 784), "3.weight": (40, 100), "5.weight": (10, 40)}
WHITE = [255, 255, 255]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run with frames. Copy it before changing anything."""
    folder = tmp_path_factory.mktemp("run") / "digits"
    assert run_cli("train", "digits", *SMALL, "--train.frames=2", "--out", folder, "--quiet")[0] == 0
    return folder


def random_frames(number: int) -> Frames:
    """Return frames of the network of report-mlp3, of which more and more weights are pruned."""
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in SHAPES.items():
        values = rng.integers(-127, 128, (number, *shape))
        left = rng.random(values.shape) < 1 / (1 + np.arange(number))[:, None, None]
        weights[name] = (values * left).astype(np.int8)
    return Frames(np.arange(number) / 10, np.linspace(0.9, 0.03, number), weights, "500 validation examples", "error")


def colour_of(recorded: np.ndarray) -> np.ndarray:
    """Return the colours of recorded weights, ``(…, 3)`` in [0, 255], by another computation: ten shades per sign."""
    size = np.abs(recorded.astype(float)) / 127
    step = np.minimum(np.floor(size * 10 + 1e-9), 9) + 1
    below = np.ceil(size * 10 - 1e-9)  # an edge belongs to the shade above it
    index = 10 + np.where(recorded > 0, step, 0) - np.where(recorded < 0, below, 0)
    return np.rint(255 * SHADES[index.astype(int), :3]).astype(int)


def blocks_of(picture: np.ndarray, frames: Frames, index: int) -> list[np.ndarray]:
    """Return the pixels of every weight, ``(units, inputs, pixels, 3)`` per layer, cut out at the positions of the axes."""
    painter = Painter(frames)
    figure = weight_matrices(painter.weights(index), painter.titles(index), painter.heading(index))
    blocks = []
    for axes, values in zip(figure.axes, frames.weights.values(), strict=False):
        box = axes.get_window_extent()
        left, right, bottom, top = (round(edge) for edge in (box.x0, box.x1, box.y0, box.y1))
        part = picture[len(picture) - top : len(picture) - bottom, left:right]
        units, inputs = values[index].shape
        rows, columns = part.shape[0] / units, part.shape[1] / inputs
        assert rows.is_integer()
        assert columns.is_integer()
        cut = part.reshape(units, int(rows), inputs, int(columns), 3)
        blocks.append(cut.transpose(0, 2, 1, 3, 4).reshape(units, inputs, -1, 3))
    return blocks


def test_every_pixel_of_a_gif_is_its_weights() -> None:
    frames = random_frames(5)
    content, shown = gif_of(Painter(frames), 5)
    assert shown == [0, 1, 2, 3, 4]
    film = Image.open(io.BytesIO(content))
    assert film.n_frames == 5
    assert film.info["loop"] == 0
    for index in shown:
        film.seek(index)
        picture = np.asarray(film.convert("RGB")).astype(int)
        for values, pixels in zip(frames.weights.values(), blocks_of(picture, frames, index), strict=True):
            assert (pixels == colour_of(values[index])[:, :, None]).all()
            is_white = (pixels == WHITE).all((-1, -2))
            assert (is_white == (values[index] == 0)).all(), "exactly the pruned weights are white"
    assert film.info["duration"] == 2000, "the end stays"
    assert film.size[0] == 800
    seconds = []
    for index in shown:
        film.seek(index)
        seconds.append(film.info["duration"] / 1000)
    assert sum(seconds) == pytest.approx(10, abs=0.1)


def test_titles() -> None:
    frames = random_frames(3)
    painter = Painter(frames)
    total, left = 78400 + 4000 + 400, sum(int((values[2] != 0).sum()) for values in frames.weights.values())
    text = painter.heading(2).replace("\u2007", " ").split()
    assert text == f"epoch 0 of 0 {total / left:.1f}× fewer weights accuracy 97.0 % (500 validation examples)".split()
    long = Painter(replace(frames, epoch=np.array([0.0, 9.5, 27.9999999999])))
    epochs = [long.heading(index).replace("\u2007", "").split(" ")[:4] for index in range(3)]
    assert epochs == [["epoch", number, "of", "28"] for number in ("0", "9", "28")], "whole epochs that are complete"
    sizes = np.array([[total, left, 23_456]] * 3)
    assert (
        Painter(replace(frames, sizes=sizes))
        .heading(2)
        .splitlines()[0]
        .endswith("fewer weights,\u2007\u2007\u2007\u200723.5 kB")
    )
    for number, (values, title) in enumerate(zip(frames.weights.values(), painter.titles(1), strict=True), 1):
        units, inputs = values[1].shape
        share = f"{100 * (values[1] == 0).mean():.1f} % removed"
        assert title.replace("\u2007", "") == f"layer {number}, {units} units × {inputs} inputs: {share}"
    assert len(painter.heading(0)) == len(painter.heading(2)), "digits keep their places"
    figure = weight_matrices(painter.weights(1), painter.titles(1), painter.heading(1))
    assert figure.texts[0].get_text() == painter.heading(1)
    axes = figure.axes[:3]
    assert [part.get_title() for part in axes] == painter.titles(1)
    assert not (painter.paint(0)[:40] == painter.paint(2)[:40]).all(), "the title changes"
    frames.weights["1.weight"][0] = frames.weights["3.weight"][0] = frames.weights["5.weight"][0] = 0
    assert painter.heading(0).splitlines()[0].endswith("nothing left")


@pytest.mark.parametrize("number", [1, 2, 7, 1001])
@pytest.mark.parametrize("shown", [2, 5, 150])
def test_chosen_frames(number: int, shown: int) -> None:
    chosen = chosen_frames(number, shown)
    assert chosen == sorted(set(chosen))
    assert (chosen[0], chosen[-1]) == (0, number - 1)
    assert len(chosen) == number if number <= shown else 2 <= len(chosen) <= shown
    gaps = np.diff(chosen)
    assert (np.diff(gaps) >= -1).all(), "closer at the start"


def test_a_gif_is_never_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    painter = Painter(random_frames(6))
    whole, _ = gif_of(painter, 6)
    monkeypatch.setattr(animation, "GIF_BYTES", limit := int(0.8 * len(whole)))
    content, shown = gif_of(painter, 6)
    assert len(content) <= limit
    assert 2 <= len(shown) < 6
    assert (shown[0], shown[-1]) == (0, 5)
    assert Image.open(io.BytesIO(content)).n_frames == len(shown)


def fake_ffmpeg(folder: Path, code: str) -> None:
    """Write a program with the name ffmpeg, which runs ``code`` on its input ``data``."""
    path = folder / "ffmpeg"
    path.write_text(f"#!{sys.executable}\nimport sys\ndata = sys.stdin.buffer.read()\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_command(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shutil.copytree(recorded, tmp_path / "run")
    monkeypatch.setenv("PATH", str(tmp_path))
    fake_ffmpeg(tmp_path, "sys.exit('no such codec')")
    before = contents(run)
    refused("animate", run, quoted=["ffmpeg", "no such codec"])
    assert contents(run) == before, "either all files are written, or none"
    fake_ffmpeg(tmp_path, "open(sys.argv[-1], 'wb').write(data)")
    code, out, err = run_cli("animate", run, "--json", "--max-frames=3")
    assert (code, err) == (0, "")
    files = json.loads(out)["files"]
    frames = read_frames(run / "frames")
    assert {name: entry["frames"] for name, entry in files.items()} == {
        "animation.gif": 3,
        "animation.mp4": len(frames),
        "first-layer.png": 1,
    }
    painter = Painter(frames)
    film = Image.open(io.BytesIO((run / "animation.gif").read_bytes()))
    assert (film.n_frames, film.size) == (3, painter.paint(0).shape[1::-1])
    raw = np.frombuffer((run / "animation.mp4").read_bytes(), np.uint8).reshape(-1, *painter.paint(0).shape)
    assert all((raw[index] == painter.paint(index)).all() for index in range(len(frames)))
    assert (raw[len(frames) :] == raw[len(frames) - 1]).all()
    before = contents(run)
    for name in files:
        refused("animate", run, quoted=[str(run / name)])
        assert contents(run) == before
        (run / name).unlink()
        before.pop(name)


def test_command_without_ffmpeg(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = shutil.copytree(recorded, tmp_path / "run")
    monkeypatch.setenv("PATH", str(tmp_path))
    refused("animate", run, "--max-frames=1", quoted=["max-frames (=1)"])
    refused("animate", tmp_path / "none", quoted=[str(tmp_path / "none")])
    code, out, err = run_cli("animate", run)
    assert (code, err) == (0, "")
    assert "no ffmpeg" in out
    assert "animation.gif" in out
    assert not (run / "animation.mp4").exists()
    first_layer_images(load_pruned(run / "pruned.safetensors"), (8, 8)).savefig(buffer := io.BytesIO(), format="png")
    assert (run / "first-layer.png").read_bytes() == buffer.getvalue()
    (run / "metrics.json").unlink()
    refused("animate", run, quoted=[str(run), "metrics.json"])
