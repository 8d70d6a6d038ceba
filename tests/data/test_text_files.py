"""Labelled texts of the user: both forms of their files, their classes, and what is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support import refuses, run_cli

from pyro_vd import load_data
from pyro_vd._core.yaml_files import read_yaml
from pyro_vd.data.text_files import LENGTH, tokenized
from pyro_vd.data.texts import PADDING, UNKNOWN
from pyro_vd.workflow.finished_run import run_pruned
from pyro_vd.workflow.run_folder import read_metrics

TEXTS = {
    "train": [("a dull film", "bad"), ("good good film", "good"), ("dull dull", "bad"), ("good", "good")],
    "test": [("a new film", "good"), ("dull", "bad")],
}


def lines(root: Path) -> Path:
    root.mkdir(parents=True)
    for part, ending in (("train", ".jsonl"), ("test", ".jsonl.gz")):
        content = "\n".join(json.dumps({"text": text, "label": label}) for text, label in TEXTS[part]).encode()
        (root / f"{part}{ending}").write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    return root


def folders(root: Path) -> Path:
    for part, texts in TEXTS.items():
        for number, (text, label) in enumerate(texts):
            (root / part / label).mkdir(parents=True, exist_ok=True)
            (root / part / label / f"{number}.txt").write_text(text)
    return root


@pytest.mark.parametrize("write", [lines, folders])
def test_texts_become_tokens_and_named_classes(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    data = load_data(str(write(tmp_path / "texts")))
    assert data.classes == ("bad", "good")
    assert (data.x_train.shape, data.x_train.dtype) == ((4, 3), torch.int64)
    assert data.words == ("(padding)", "(other words)", "dull", "good", "film", "a")
    known = {"dull": 2, "good": 3, "film": 4, "a": 5}
    wanted = {tuple(known.get(word, UNKNOWN) for word in text.split()): label == "good" for text, label in TEXTS["test"]}
    for x, y in zip(*data.test, strict=True):
        assert wanted.pop(tuple(x[x != PADDING].tolist())) == bool(y)


@pytest.mark.parametrize(("longest", "length"), [(0, 1), (3, 3), (LENGTH + 5, LENGTH)])
def test_all_texts_are_as_long_as_the_longest_training_text(longest: int, length: int) -> None:
    """Of a longer one the last words are left, and texts without words are one token of padding."""
    train, test = [" ".join(["good"] * longest), ""], ["bad " * 300 + "good"]
    data = tokenized("texts", (train, [0, 1]), (test, [0]))
    assert data.x_train.shape == (2, length)
    assert data.x_test.shape == (1, length)
    assert data.x_test[0].tolist() == [UNKNOWN] * (length - 1) + [2 if longest else UNKNOWN]
    assert (data.x_train[1] == PADDING).all()


@pytest.mark.parametrize(
    ("line", "mentioned"),
    [
        (b"[1]", "line 2"),
        (b'{"text": "a"}', "line 2"),
        (b'{"text": 1, "label": "good"}', "line 2"),
        (b'{"text": "a", "label": true}', "line 2"),
        (b'{"text": "a", "label": 1.5}', "line 2"),
        (b'{"text"', "train.jsonl"),
        (b"\xff", "train.jsonl"),
    ],
)
def test_broken_lines_are_refused(tmp_path: Path, line: bytes, mentioned: str) -> None:
    path = lines(tmp_path / "texts") / "train.jsonl"
    path.write_bytes(path.read_bytes().splitlines()[0] + b"\n" + line)
    with refuses(str(path)) as caught:
        load_data(str(path.parent))
    assert mentioned in str(caught.value)


def test_labels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    root = lines(tmp_path / "texts")
    train = root / "train.jsonl"
    whole = train.read_text()
    train.write_text(f'{whole}\n{{"text": "a", "label": 1}}')
    with refuses(str(root)):
        load_data(str(root))
    train.write_text(whole.replace('"good"}', '"bad"}'))
    with refuses(str(root), "good", "bad"):
        load_data(str(root))
    train.write_text("\n")
    with refuses(str(train), 0):
        load_data(str(root))
    train.write_text(whole)
    (root / "test.jsonl.gz").unlink()
    with refuses(str(root), "test", "test.jsonl.gz"):
        load_data(str(root))


def test_training_takes_the_recipe_text(tmp_path: Path) -> None:
    arguments = ("train", "--data.name", lines(tmp_path / "texts"), "--out", tmp_path / "out", "--data.validation=0")
    code, out, err = run_cli(*arguments, "--train.epochs=1", "--train.kl_weight.end=1", "--quiet")
    assert (code, err) == (0, "")
    metrics = read_metrics(tmp_path / "out")
    rows = run_pruned(tmp_path / "out").get_parameter("embedding.weight").any(1).tolist()
    words = ("(padding)", "(other words)", "dull", "good", "film", "a")
    assert metrics["words_left"] == [word for word, is_left in zip(words, rows, strict=True) if is_left]
    listed = " ".join(metrics["words_left"])
    assert f"it reads {len(metrics['words_left'])} of 6 words, the most frequent first: {listed}" in " ".join(out.split())
    args = read_yaml(tmp_path / "out" / "recipe.yaml")["model"]["args"]
    assert (args["vocabulary"], args["classes"]) == (6, 2)
