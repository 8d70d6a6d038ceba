"""``pyro-vd animate``: the recorded training of a run as a GIF and an MP4, and its first layer as images."""

from __future__ import annotations

import shutil
from pathlib import Path

from pyro_vd._core.errors import InputError
from pyro_vd.cli.arguments import add_trust, take_trust
from pyro_vd.cli.parsing import Parser

_MORE = (
    "Shows the weight matrices as they would be pruned at each moment: signed colours from -1 to 1, white for what is pruned. "
    "The run must have recorded frames (train.frames). The accuracy in the title is that on the first 500 validation "
    "examples, or on the first 500 training examples where no validation examples are held out. Writes RUN/animation.gif, "
    "800 pixels wide, of ten seconds and at most 2 MB; RUN/animation.mp4, with every frame; and, if the first layer reads a "
    "square image, RUN/first-layer.png, "
    "the pruned weights of each of its units."
)


def run(arguments: list[str]) -> None:
    """Carry the command out."""
    parser = Parser("animate RUN [--max-frames N]", _MORE)
    parser.value("run", str, "folder of a finished run that recorded frames")
    parser.value("--max-frames", int, "most frames of the GIF, closer together at the start (default: 150)", default=150)
    add_trust(parser)
    values = parser.read(arguments)
    take_trust(values)

    from rich.progress import MofNCompleteColumn

    from pyro_vd._core.arguments import check_number
    from pyro_vd._core.storage import as_json, save_figure, write_atomically
    from pyro_vd._core.terminal import console
    from pyro_vd.networks.layers import named_weights
    from pyro_vd.plots.animation import Painter, gif_of, mp4_of
    from pyro_vd.plots.drawing import image_shape
    from pyro_vd.plots.weights import first_layer_images
    from pyro_vd.training.frame_files import read_frames
    from pyro_vd.training.progress import Bars
    from pyro_vd.workflow.finished_run import run_pruned
    from pyro_vd.workflow.run_folder import FRAMES, read_metrics
    from pyro_vd.workflow.tables import print_table

    check_number("max-frames", values.max_frames, low=2, whole=True)
    folder = Path(values.run)
    if not folder.is_dir():
        raise InputError(name="run", value=values.run, allowed="the folder of a finished run")
    read_metrics(folder)
    ffmpeg = shutil.which("ffmpeg")
    net = run_pruned(folder)
    first = next(weight for _, weight in named_weights(net))
    shape = image_shape(first.shape[1:]) if first.ndim == 2 else None
    gif, mp4, images = (folder / name for name in ("animation.gif", "animation.mp4", "first-layer.png"))
    for target in (gif, *([mp4] if ffmpeg else []), *([images] if shape else [])):
        if target.exists():
            raise InputError(f"{target} exists; move it away first", name=str(target))
    frames = read_frames(folder / FRAMES)
    painter = Painter(frames)
    first_layer = first_layer_images(net, shape) if shape else None
    contents: dict[Path, bytes] = {}
    counts: dict[Path, int] = {}
    shown_on = console(stderr=True)
    columns = (*Bars.get_default_columns(), MofNCompleteColumn())
    with Bars(*columns, console=shown_on, disable=not shown_on.is_terminal) as progress:
        task = progress.add_task("GIF", total=None)
        contents[gif], shown = gif_of(painter, values.max_frames, lambda: progress.advance(task))
        counts[gif] = len(shown)
        if ffmpeg:
            task = progress.add_task("MP4", total=len(frames))
            contents[mp4], counts[mp4] = mp4_of(painter, ffmpeg, lambda: progress.advance(task)), len(frames)
    for path, content in contents.items():
        write_atomically(path, content)
    if first_layer is not None:
        save_figure(first_layer, images)
        counts[images] = 1
    if values.json:
        files = {path.name: {"frames": count, "bytes": path.stat().st_size} for path, count in counts.items()}
        print(as_json({"run": str(folder), "recorded": len(frames), "files": files}))
        return
    rows = [[str(path), str(count), f"{path.stat().st_size / 1000:.0f}"] for path, count in counts.items()]
    title = f"{folder}: {len(frames)} frames recorded" + ("" if ffmpeg else "; no MP4, as there is no ffmpeg")
    print_table(title, ["file", "frames", "kB"], rows)
