"""What several test files share: the command line in this process and in another, and small data sets on disk."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pyro_vd import InputError
from pyro_vd.cli import main as cli
from pyro_vd.training import Callback, TrainingState

SMALL = (
    "--model.sizes=[64,12,10]",
    "--data.validation=100",
    *(f"--{phase}.{key}" for phase in ("pretrain", "train", "finetune") for key in ("epochs=2", "batch_size=200")),
    "--train.kl_weight.end=1",
    "--device=cpu",
)
"""Keys that make the digits recipe a matter of a tenth of a second."""

ROOT = Path(__file__).parents[1]
_PYTHONPATH = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONWARNINGS": "error",
    "PYTHONPATH": _PYTHONPATH,
}
"""Of other processes, in which modules of the tests can be imported as in this one."""


class EachStep(Callback):
    """Calls a function after every step of a training."""

    def __init__(self, function: Callable[[TrainingState], object]) -> None:
        self.on_step = function  # type: ignore[method-assign, assignment]


ANYTHING = object()
"""Stands for any value of a field of an error."""


@contextlib.contextmanager
def refuses(
    name: object = ANYTHING, value: object = ANYTHING, *mentioned: object
) -> Iterator[pytest.ExceptionInfo[InputError]]:
    """Expects an ``InputError`` about this argument, key or file, and this value; its sentence may be written in any words.

    Args:
        name: what the error must call the value, its field ``name``.
        value: what must have been given, its field ``value``.
        mentioned: names, numbers and paths that the message must contain, such as the site or a name that is allowed.
    """
    with pytest.raises(InputError) as caught:
        yield caught
    message = str(caught.value)
    assert name is ANYTHING or caught.value.name == name, (caught.value.name, message)
    if value is not ANYTHING:
        assert caught.value.has_value, message
        given = caught.value.value
        assert given is value or given == value or (given != given and value != value), (given, message)
    for text in mentioned:
        assert str(text) in message, (text, message)
    assert "\n" not in message, "one sentence"


def run_cli(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of ``pyro-vd``, run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int)
    return code, out.getvalue(), err.getvalue()


def command(*arguments: str | Path) -> list[str]:
    """``python -m pyro_vd …``, for a process of its own."""
    return [sys.executable, "-m", "pyro_vd", *map(str, arguments)]


def python(code: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """``python -c code`` in a process of its own, with one thread and warnings as errors."""
    line = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, **{"env": ENVIRONMENT, **options})


def copy_checkout(folder: Path) -> None:
    """Copy what is built and installed to a folder that is not there yet; links stay links."""
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "pyro_vd", "models", "guides", "runs"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)


def check_refusal(result: tuple[int, str, str], quoted: Sequence[str]) -> None:
    """Exit code 2, nothing on standard output, and one line on standard error that quotes what is wrong."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert "usage" not in err.lower()
    for text in quoted:
        assert text in err


def refused(*arguments: str | Path, quoted: Sequence[str]) -> None:
    """``pyro-vd`` refuses these arguments; see :func:`check_refusal`."""
    check_refusal(run_cli(*arguments), quoted)


@contextlib.contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file can grow beyond ``limit`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder: Path) -> dict[str, str]:
    """Every file under a folder, hidden ones too, with a digest of its bytes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def flat(tree: Any, key: str = "") -> dict[str, Any]:
    """Settings in a tree by their dotted names; ``args`` are a value, and so is a mapping whose keys are no text."""
    is_value = (
        not isinstance(tree, dict) or key.endswith(("args", "kl_weights")) or not all(isinstance(name, str) for name in tree)
    )
    if is_value or not tree:
        return {key: tree}
    return {leaf: x for name, value in tree.items() for leaf, x in flat(value, f"{key}.{name}" if key else name).items()}


def idx(array: np.ndarray) -> bytes:
    """The bytes of an idx file, MNIST's format."""
    shape = b"".join(struct.pack(">I", size) for size in array.shape)
    return struct.pack(">HBB", 0, 8, array.ndim) + shape + array.astype(np.uint8).tobytes()


def write_mnist(root: Path, **replaced: bytes | None) -> tuple[np.ndarray, np.ndarray]:
    """A torchvision root with 40 and 20 images in MNIST's format; returns the training images and labels.

    ``replaced``: other bytes, or None for no file, by name with ``_`` for ``-``.
    """
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (40, 28, 28)), np.arange(40) % 10
    files: dict[str, bytes | None] = {
        "train-images-idx3-ubyte": idx(images),
        "train-labels-idx1-ubyte": idx(labels),
        "t10k-images-idx3-ubyte": idx(images[:20]),
        "t10k-labels-idx1-ubyte": idx(labels[:20]),
    }
    files |= {name.replace("_", "-"): content for name, content in replaced.items()}
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in files.items():
        if content is not None:
            (raw / name).write_bytes(content)
    return images, labels


def write_npz(path: Path, **replaced: np.ndarray | None) -> dict[str, np.ndarray]:
    """An ``.npz`` of 30 and 9 examples, 4 inputs, 3 classes; ``replaced``: other arrays, or None for no such key."""
    x = np.random.default_rng(0).random((30, 4), np.float32)
    y = np.arange(30) % 3
    arrays: dict[str, np.ndarray | None] = {"x_train": x, "y_train": y, "x_test": x[:9], "y_test": y[:9], **replaced}
    kept = {name: array for name, array in arrays.items() if array is not None}
    with path.open("wb") as file:
        np.savez(file, **kept)  # type: ignore[arg-type]
    return kept


def write_images(root: Path, shape: tuple[int, int] = (4, 5), classes: Sequence[str] = ("cat", "dog")) -> Path:
    """A folder of random images, three a class, in ``train`` and ``test``."""
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in classes:
            folder = root / part / name
            folder.mkdir(parents=True)
            for index in range(3):
                Image.fromarray(rng.integers(0, 256, (*shape, 3)).astype(np.uint8)).save(folder / f"{index}.png")
    return root
