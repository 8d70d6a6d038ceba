"""Labelled texts in files, as tokens: one JSON object per line, or a folder per class."""

from __future__ import annotations

import gzip
import io
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import quoted
from pyro_vd._core.reading import check_regular, check_size, check_unpacked, plain_json, read_bytes, read_text, reading
from pyro_vd.data.dataset import Dataset
from pyro_vd.data.texts import NAMES, tokens, vocabulary, words

VOCABULARY, LENGTH = 20_000, 200
"""The most different tokens, and the most tokens per text, as in Chirkova, Lobacheva and Vetrov 2018 (arXiv 1810.10927)."""

_ENDINGS = (".jsonl", ".jsonl.gz")
_MOST_BYTES = 2**28
"""Largest size of all texts of a part; the reviews of IMDB have 33 MB."""
_BYTES_PER_TEXT, _LOOKS = 8 * LENGTH, 10_000
"""The most that a text takes as tokens; and after so many texts it is seen whether all take too much."""

Label = int | str
Texts = tuple[list[str], list[Label]]
"""Texts and their labels."""


def holds_texts(path: Path) -> bool:
    """Whether a folder has texts for training."""
    return any((path / f"train{ending}").is_file() for ending in _ENDINGS) or any(path.glob("train/*/*.txt"))


def load_texts(path: Path) -> Dataset:
    """Load texts as tokens ``(n, length)`` of a vocabulary of at most 20,000, which is that of the training texts.

    The length is that of the longest training text, and at most 200.

    Args:
        path: a folder with ``train`` and ``test``: each a file ``.jsonl`` or ``.jsonl.gz`` with an object per line that has a
            ``text`` and a ``label``, an integer or text; or a folder per class of ``.txt`` files.

    Raises:
        InputError: a file or a folder is missing, or is not as it should be; or the test texts have a class of their own.
    """
    return tokenized(str(path), _part(path, "train"), _part(path, "test"))


def tokenized(name: str, train: Texts, test: Texts, classes: Sequence[Label] | None = None) -> Dataset:
    """The data set of these texts; upper and lower case are kept.

    Every text has as many tokens as the longest training text, at most 200: shorter ones are padded in front, and of longer
    ones the last words are taken.

    Args:
        name: of the data set.
        train, test: the texts.
        classes: in the order of their numbers; None for those of the training texts, sorted.

    Raises:
        InputError: a label is no class, or some are integers and others text.
    """
    found = set(train[1])
    if len({type(label) for label in found}) > 1:
        raise InputError(f"{name}: labels are integers and text; they must be one of both", name=name, value=quoted(found))
    classes = sorted(found, key=lambda label: label) if classes is None else classes
    numbers = {label: number for number, label in enumerate(classes)}
    if unknown := [label for label in test[1] if label not in numbers]:
        listed = ", ".join(map(str, classes))
        message = f"{name}: the label {unknown[0]!r} of a test text is none of the training texts: {listed}"
        raise InputError(message, name=name, value=unknown[0], allowed=f"one of {listed}")
    split = [words(text) for text in train[0]]
    known = vocabulary(split, VOCABULARY)
    length = max(1, min(LENGTH, max(map(len, split))))
    x_train, x_test = tokens(split, known, length), tokens([words(text) for text in test[0]], known, length)
    y_train, y_test = (np.asarray([numbers[label] for label in labels]) for labels in (train[1], test[1]))
    tensors = [torch.from_numpy(array) for array in (x_train, y_train, x_test, y_test)]
    return Dataset(name, *tensors, classes=tuple(map(str, classes)), words=(*NAMES, *known))


def read_lines(path: Path, allowed: Collection[Label] | None = None) -> Texts:
    """The texts of a file with one JSON object per line, compressed if its name ends in ``.gz``.

    Args:
        path: the file.
        allowed: the labels; None for any integers or text.

    Raises:
        InputError: the file is missing or broken, or a line is no such object; the message has its number.
    """
    what = f"{'a gzip' if path.suffix == '.gz' else 'a'} file of texts, one JSON object with label and text per line"
    with reading(path, what):
        content = _content(path, what)
        texts: list[str] = []
        labels: list[Label] = []
        for number, line in enumerate(io.BytesIO(content), 1):
            if not line.strip():
                continue
            found = plain_json(line.decode("utf-8-sig"))
            text, label = (found.get(key) if isinstance(found, dict) else None for key in ("text", "label"))
            fits = type(label) in (int, str) and (allowed is None or label in allowed)
            if not isinstance(text, str) or not fits or label is None:
                kinds = "an integer or text" if allowed is None else " or ".join(map(str, allowed))
                needed = f"an object with a text, and a label {kinds}"
                message = f"{path}, line {number} (={quoted(found)}) must be {needed}"
                raise InputError(message, name=str(path), value=found, allowed=needed)
            texts.append(text)
            labels.append(label)
            if not number % _LOOKS:
                check_unpacked(path, _BYTES_PER_TEXT * number)
        check_unpacked(path, _BYTES_PER_TEXT * len(texts))
    return some(path, texts, labels)


def _content(path: Path, what: str) -> bytes:
    if path.suffix != ".gz":
        return read_bytes(path, what, _MOST_BYTES)
    check_regular(path, what)
    with gzip.open(path) as file:
        content = file.read(_MOST_BYTES + 1)
    check_size(path, what, len(content), _MOST_BYTES)
    return content


def some(path: Path, texts: list[str], labels: list[Label]) -> Texts:
    """The texts themselves.

    Raises:
        InputError: there are none.
    """
    if not texts:
        raise InputError(f"{path} holds no texts", name=str(path), value=0, allowed="a text or more")
    return texts, labels


def _part(folder: Path, part: str) -> Texts:
    for ending in _ENDINGS:
        if (file := folder / f"{part}{ending}").is_file():
            return read_lines(file)
    files = sorted((folder / part).glob("*/*.txt"))
    if not files:
        allowed = f"{part}.jsonl, {part}.jsonl.gz or {part}/<class>/*.txt"
        raise InputError(f"{folder} must hold {allowed}", name=str(folder), value=part, allowed=allowed)
    return some(folder / part, [read_text(file, "a text") for file in files], [file.parent.name for file in files])
