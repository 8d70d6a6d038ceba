"""The Large Movie Review Dataset (Maas 2011): 25,000 reviews for training and 25,000 for the test, positive or negative."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import torch

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd._core.reading import check_size, read_text, reading
from pyro_vd.data.dataset import Dataset
from pyro_vd.data.texts import tokens, vocabulary, words

VOCABULARY, LENGTH = 20_000, 200
"""The number of different tokens, and of tokens per review, as in Chirkova, Lobacheva and Vetrov 2018 (arXiv 1810.10927)."""

_LINES = "{part}.jsonl.gz"
_ORIGINAL = "aclImdb"
_WHAT = "a gzip file of reviews, one JSON object with label and text per line"
_MOST_BYTES = 2**28
"""Largest size of all texts of a part; the real ones have 33 MB."""

Reviews = tuple[list[str], list[int]]
"""Texts and their labels: 1 is positive, 0 negative."""


def load_imdb(root: Path) -> Dataset:
    """Load the reviews as tokens ``(n, 200)`` of a vocabulary of 20,000, which is that of the training reviews.

    Of a long review the last 200 words are taken. Upper and lower case are kept.

    Args:
        root: holds ``imdb/train.jsonl.gz`` and ``imdb/test.jsonl.gz``, or the original folder ``aclImdb``.

    Raises:
        InputError: the files are not there, or are not such reviews.
    """
    (train, y_train), (test, y_test) = (_read(root, part) for part in ("train", "test"))
    texts = [words(text) for text in train]
    known = vocabulary(texts, VOCABULARY)
    x_train, x_test = tokens(texts, known, LENGTH), tokens([words(text) for text in test], known, LENGTH)
    arrays = (x_train, np.asarray(y_train), x_test, np.asarray(y_test))
    return Dataset("imdb", *(torch.from_numpy(array) for array in arrays))


def _read(root: Path, part: str) -> Reviews:
    lines, original = root / "imdb" / _LINES.format(part=part), root / _ORIGINAL / part
    if lines.is_file():
        return _from_lines(lines)
    if original.is_dir():
        return _from_folders(original)
    raise InputError(
        f"imdb is not in {root}: it must hold imdb/train.jsonl.gz and imdb/test.jsonl.gz, or the unpacked folder {_ORIGINAL} "
        "of https://ai.stanford.edu/~amaas/data/sentiment; set PYRO_VD_DATA or --data-dir",
        name="data",
        value="imdb",
        allowed=f"imdb/train.jsonl.gz and imdb/test.jsonl.gz, or {_ORIGINAL}, in {root}",
    )


def _from_lines(path: Path) -> Reviews:
    """The reviews in a gzip file with one JSON object per line."""
    texts, labels = [], []
    with reading(path, _WHAT):
        with gzip.open(path) as file:
            content = file.read(_MOST_BYTES + 1)
        check_size(path, _WHAT, len(content), _MOST_BYTES)
        reviews = [json.loads(line) for line in content.splitlines() if line.strip()]
    for number, review in enumerate(reviews, 1):
        text, label = (review.get(key) if isinstance(review, dict) else None for key in ("text", "label"))
        if not isinstance(text, str) or type(label) is not int or label not in (0, 1):
            allowed = "an object with a text, and a label 0 or 1"
            message = f"{path}, line {number} (={quoted(review)}) must be {allowed}"
            raise InputError(message, name=str(path), value=review, allowed=allowed)
        texts.append(text)
        labels.append(label)
    return _some(path, texts, labels)


def _from_folders(path: Path) -> Reviews:
    """The reviews in the files of the folders ``neg`` and ``pos``, in the order of their names, a pair at a time."""
    found = []
    for label, name in enumerate(("neg", "pos")):
        files = sorted((path / name).glob("*.txt"), key=lambda file: (len(file.name.partition("_")[0]), file.name))
        found.append([(read_text(file, "a review"), label) for file in files])
    reviews = sorted(
        ((place, label, text) for of_label in found for place, (text, label) in enumerate(of_label)), key=lambda each: each[:2]
    )
    return _some(path, [text for _, _, text in reviews], [label for _, label, _ in reviews])


def _some(path: Path, texts: list[str], labels: list[int]) -> Reviews:
    if not texts:
        raise InputError(f"{path} holds no reviews; it must hold {_WHAT}", name=str(path), value=0, allowed=_WHAT)
    return texts, labels
