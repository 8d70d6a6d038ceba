"""Movie reviews as tokens, from both forms of their files."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
import torch
from support import refuses

from pyro_vd import load_data
from pyro_vd.data.text_files import LENGTH, VOCABULARY
from pyro_vd.data.texts import PADDING, UNKNOWN, tokens, vocabulary, words

REVIEWS = {
    "train": [("Bad, bad!<br /><br />Don't", 0), ("good good good film", 1)],
    "test": [("A bad film", 0), ("good", 1)],
}


def _write_lines(root: Path) -> Path:
    (root / "imdb").mkdir(parents=True)
    for part, reviews in REVIEWS.items():
        text = "\n".join(json.dumps({"label": label, "text": text}) for text, label in reviews)
        (root / "imdb" / f"{part}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    return root


def _write_folders(root: Path) -> Path:
    for part, reviews in REVIEWS.items():
        for text, label in reviews:
            folder = root / "aclImdb" / part / ("neg", "pos")[label]
            folder.mkdir(parents=True)
            (folder / f"0_{9 * label}.txt").write_text(text, encoding="utf-8")
    return root


def test_words_keep_case_and_apostrophes_but_not_line_breaks():
    assert words("It's GOOD, is it?<br />Yes…") == ["It's", "GOOD", ",", "is", "it", "?", "Yes", "…"]
    assert words("") == []


def test_a_vocabulary_holds_the_most_frequent_words():
    texts = [["b", "a", "a"], ["c", "b", "a"]]
    assert vocabulary(texts, 4) == {"a": 2, "b": 3}
    assert vocabulary([["b", "a"]], 9) == {"a": 2, "b": 3}, "equal frequencies in alphabetical order"
    assert vocabulary(texts, 1) == {}


def test_tokens_of_long_texts_are_their_last_and_short_ones_are_padded_in_front():
    known = {"a": 2, "b": 3}
    found = tokens([["a", "b", "x", "b"], ["a"], []], known, 3)
    assert found.tolist() == [[3, UNKNOWN, 3], [PADDING, PADDING, 2], [PADDING] * 3]


@pytest.mark.parametrize("write", [_write_lines, _write_folders])
def test_both_forms_give_the_same_data(write, tmp_path):
    data = load_data("imdb", write(tmp_path))
    assert data.x_train.shape == (2, 5), "as the longest one"
    assert data.x_train.dtype == torch.int64
    assert data.y_train.tolist() == data.y_test.tolist() == [0, 1]
    known = vocabulary([words(text) for text, _ in REVIEWS["train"]], VOCABULARY)
    assert data.x_train[1].tolist() == [PADDING] + [known["good"]] * 3 + [known["film"]]
    assert data.x_test[0, -3:].tolist() == [UNKNOWN, known["bad"], known["film"]]


def test_missing_files_are_named(tmp_path):
    with refuses("data", "imdb", str(tmp_path), "aclImdb"):
        load_data("imdb", tmp_path)


@pytest.mark.parametrize(
    ("content", "mentioned"),
    [
        (b"no gzip", "gzip"),
        (gzip.compress(b"{"), "gzip"),
        (gzip.compress(b'{"label": 2, "text": "a"}'), "line 1"),
        (gzip.compress(b'{"label": 1, "text": "a"}\n[1]'), "line 2"),
        (gzip.compress(b'{"label": true, "text": "a"}'), "label"),
        (gzip.compress(b""), "no texts"),
        (gzip.compress(b'{"label": 1, "text": "a"}')[:-9], "gzip"),
    ],
    ids=["text", "half an object", "label 2", "a list", "true", "empty", "truncated"],
)
def test_broken_files_are_refused(content, mentioned, tmp_path):
    path = _write_lines(tmp_path) / "imdb" / "test.jsonl.gz"
    path.write_bytes(content)
    with refuses(str(path)) as caught:
        load_data("imdb", tmp_path)
    assert mentioned in str(caught.value)


@pytest.mark.slow
def test_the_real_reviews():
    root = Path(os.environ.get("PYRO_VD_DATA", ""))
    if not (root / "imdb" / "train.jsonl.gz").exists():
        pytest.skip("the reviews are not there: PYRO_VD_DATA is not set, or has no folder imdb")
    data = load_data("imdb", root)
    assert data.x_train.shape == data.x_test.shape == (25_000, LENGTH)
    assert int(data.x_train.max()) == VOCABULARY - 1
    assert data.y_train.sum() == data.y_test.sum() == 12_500
    assert (data.x_train == UNKNOWN).float().mean() < 0.03, "few words are unknown"
