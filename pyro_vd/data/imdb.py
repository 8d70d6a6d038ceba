"""The Large Movie Review Dataset (Maas 2011): 25,000 reviews for training and 25,000 for the test, positive or negative."""

from __future__ import annotations

from pathlib import Path

from pyro_vd._core.errors import InputError
from pyro_vd._core.reading import read_text
from pyro_vd.data.dataset import Dataset
from pyro_vd.data.text_files import Texts, read_lines, some, tokenized

_LINES = "{part}.jsonl.gz"
_ORIGINAL = "aclImdb"
_LABELS = (0, 1)
"""Negative and positive."""


def load_imdb(root: Path) -> Dataset:
    """Load the reviews as tokens ``(n, 200)`` of a vocabulary of 20,000; see :func:`~pyro_vd.data.text_files.tokenized`.

    Args:
        root: holds ``imdb/train.jsonl.gz`` and ``imdb/test.jsonl.gz``, or the original folder ``aclImdb``.

    Raises:
        InputError: the files are not there, or are not such reviews.
    """
    train, test = (_read(root, part) for part in ("train", "test"))
    return tokenized("imdb", train, test, _LABELS)


def _read(root: Path, part: str) -> Texts:
    lines, original = root / "imdb" / _LINES.format(part=part), root / _ORIGINAL / part
    if lines.is_file():
        return read_lines(lines, _LABELS)
    if original.is_dir():
        return _from_folders(original)
    raise InputError(
        f"imdb is not in {root}: it must hold imdb/train.jsonl.gz and imdb/test.jsonl.gz, or the unpacked folder {_ORIGINAL} "
        "of https://ai.stanford.edu/~amaas/data/sentiment; set PYRO_VD_DATA or --data-dir",
        name="data",
        value="imdb",
        allowed=f"imdb/train.jsonl.gz and imdb/test.jsonl.gz, or {_ORIGINAL}, in {root}",
    )


def _from_folders(path: Path) -> Texts:
    """The reviews in the files of the folders ``neg`` and ``pos``, in the order of their names, a pair at a time."""
    found = []
    for label, name in enumerate(("neg", "pos")):
        files = sorted((path / name).glob("*.txt"), key=lambda file: (len(file.name.partition("_")[0]), file.name))
        found.append([(read_text(file, "a review"), label) for file in files])
    reviews = sorted(
        ((place, label, text) for of_label in found for place, (text, label) in enumerate(of_label)), key=lambda each: each[:2]
    )
    return some(path, [text for _, _, text in reviews], [label for _, label, _ in reviews])
