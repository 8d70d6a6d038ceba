"""Texts as tokens: words are numbered by how often they occur in the training texts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

PADDING, UNKNOWN = 0, 1
"""The tokens that fill short texts, in front, and that stand for all words outside of the vocabulary."""
NAMES = ("(padding)", "(other words)")
"""What these two are called in a list of words."""

_LINE_BREAK = re.compile(r"<br\s*/?>")
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def words(text: str) -> list[str]:
    """The words and punctuation marks of a text, in upper and lower case as they are, without marks of line breaks."""
    return _WORD.findall(_LINE_BREAK.sub(" ", text))


def vocabulary(texts: Iterable[Sequence[str]], size: int) -> dict[str, int]:
    """The tokens of the most frequent words, from 2 on; the most frequent word comes first, and words of equal frequency in
    alphabetical order.

    Args:
        texts: the words of each training text.
        size: the number of all tokens, those for padding and for unknown words included.
    """
    counts = Counter(word for text in texts for word in text)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: token for token, word in enumerate(ranked[: max(0, size - 2)], 2)}


def tokens(texts: Sequence[Sequence[str]], known: Mapping[str, int], length: int) -> np.ndarray:
    """The tokens ``(n, length)`` of texts, as int64: of long texts the last ``length`` words, and padding before short ones."""
    found = np.full((len(texts), length), PADDING, np.int64)
    for row, text in zip(found, texts, strict=True):
        last = [known.get(word, UNKNOWN) for word in text[-length:]]
        if last:
            row[-len(last) :] = last
    return found
