"""Recipe files: refused with a sentence, or taken exactly as they are; nothing that YAML knows takes time, memory or files."""

from __future__ import annotations

import json
import time
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import flat, refused, refuses, run_cli

from pyro_vd._core.errors import InputError
from pyro_vd._core.schema import leaves
from pyro_vd._core.settings import overlaid, tree_of
from pyro_vd._core.yaml_files import read_yaml
from pyro_vd.guides import GuideSettings
from pyro_vd.runs import recipes
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.recipe_files import parse_recipe, read_recipe

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 0.5, 2.0, 1e300, 10**30, "", "x", "3", "0.5", "true", "null", "none", "ard", "weight"),
    *([], [1], [1, 2.5], ["x"], [[1]], [None], {}, {"x": 1}, {"value": 1}, {1: 0.5}, {"epochs": 3}),
)


PRIORS = {"group": "normal-jeffreys"}
"""By guide, where it is not the default."""


def nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


BRANCHES = ("data", "model", "pretrain", "train", "prune", "finetune", "augment", "train.kl_weight", "finetune.lr_schedule")
KEYS = [(key, "variational") for key in (*leaves(Recipe), *BRANCHES) if not key.startswith("train.guide")]
KEYS += [(leaf, kind) for kind, settings in GuideSettings.kinds.items() for leaf in leaves(settings, "train.guide")]


@pytest.mark.parametrize(("key", "kind"), KEYS)
def test_every_value_is_refused_or_taken_as_it_is(tmp_path: Path, key: str, kind: str) -> None:
    """The recipe's keys by values of every type; a value that other keys must fit may be refused for their sake."""
    named: list[bool] = []
    base: dict[str, Any] = {"train": {"guide": {"kind": kind}}, "model": {"prior": PRIORS.get(kind, "log-uniform")}}
    taken, before = 0, flat(tree_of(parse_recipe(base)))
    for value in VALUES:
        content = overlaid(base, nested(key, value), Recipe)
        (path := tmp_path / "r.yaml").write_text(yaml.safe_dump(content))
        try:
            tree = tree_of(parse_recipe(read_yaml(path), str(path)))
        except InputError as error:
            named.append(str(path) in str(error))
            continue
        found = flat(tree)
        if key in leaves(Recipe):
            reached = reduce(getitem, key.split("."), tree)
            assert reached == value, "exactly that value"
            assert isinstance(reached, bool) == isinstance(value, bool)
            taken += 1
        else:
            assert isinstance(value, dict), "only keys and values where keys and values are wanted"
        assert {name for name in found if found[name] != before.get(name)} <= {key, *flat(nested(key, value))}
    assert named
    assert all(named)
    assert (
        taken
        or key in (*BRANCHES, "model.sizes", "model.initial_theta")
        or key.endswith(("likelihood", "kind", "after", "noise", "precision"))
    )


ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "alias bomb": (ALIASES, "line 1"),
    "an alias of itself": ("train: &a {train: *a}", "line 1"),
    "merge": ("train: {<<: {epochs: 3}}", "'train.<<'"),
    "a million keys": ("".join(f"k{number}: 1\n" for number in range(10**6)), "1,048,576"),
    "a comment of 20 MB": ("#" * 20_000_000, "20,000,000"),
    "100,000 keys": ("".join(f"k{number}:\n" for number in range(100_000)), "data, model"),
    "a long key": ("? " + "a" * 10**6 + "\n: 1\nseed: 1", "'aaaa"),
    "brackets": ("train: " + "[" * 500, " 16 "),
    "3,000 brackets": ("train: " + "[" * 3000, ", line 1"),
    "braces": ("train: " + "{a: " * 200_000, " 16 "),
    "a date": ("seed: 2001-13-45", "seed (=2001-13-45)"),
    "no hexadecimal": ("seed: 0x_", "seed (=0x_)"),
    "digits": ("seed: " + "1" * 5000, "seed (=inf)"),
    "hexadecimal digits": ("seed: 0x" + "f" * 5000, "seed (=0xfff"),
    "sixties": ("seed: 1:30", "seed (=1:30)"),
    "a tag": ("seed: !!float ''", "line 1"),
    "python": ("seed: !!python/object/apply:os.mkdir [victim]", "line 1"),
    "twice": ("seed: 1\ntrain: {epochs: 3}\nseed: 2", "line 3"),
    "twice within": ("train: {epochs: 3, epochs: 4}", "line 1"),
    "two documents": ("seed: 1\n---\nseed: 2", ""),
    "a list as a key": ("? [seed]\n: 1", "line 1"),
    "number for a mapping": ("finetune: 3", "finetune (=3)"),
    "truth for a mapping": ("train: true", "train (=True)"),
    "list for a mapping": ("pretrain: []", "pretrain (=[])"),
    "nothing for a mapping": ("train:", "train (=None)"),
    "a file for a mapping": ("train: other.yaml", "train (=other.yaml)"),
    "a list for a schedule": ("train: {kl_weight: [1]}", "train.kl_weight (=[1])"),
    "null for a number": ("train: {kl_weight: {value: null}}", "train.kl_weight.value (=None)"),
    "augment": ("augment: 3", "augment (=3)"),
    "infinity": ("train: {lr: .inf}", "train.lr (=inf)"),
    "control characters": ("seed: \x01", ""),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """As the recipe and as a further file, within a second of processor time."""
    monkeypatch.chdir(tmp_path)
    content, message = HOSTILE[case]
    (path := tmp_path / "mine.yaml").write_text(content)
    started = time.process_time()
    refused("train", path, "--out", tmp_path / "out", quoted=["mine.yaml", message])
    refused("train", "digits", "--config", path, "--out", tmp_path / "out", quoted=["mine.yaml", message])
    refused("sweep", "digits", f"--config={path}", "--seeds=2", "--out", tmp_path / "out", quoted=["mine.yaml", message])
    assert time.process_time() - started < 6
    assert [file.name for file in tmp_path.iterdir()] == ["mine.yaml"]


@pytest.mark.parametrize("value", ["2001-13-45", "0x_", "!!float ''", "!!bool maybe", "&a [*a]", "1" * 5000, "[" * 3000])
def test_such_values_on_the_command_line(tmp_path: Path, value: str) -> None:
    refused("train", "digits", "--out", tmp_path / "out", f"--seed={value}", quoted=[])
    assert not list(tmp_path.iterdir())


SECRET = b"root:x:0:0:hunter2:/root:/bin/sh\n"


@pytest.mark.parametrize(
    "content", [SECRET, b"- " + SECRET, SECRET + b"\tx: [", b"'" + SECRET, b"\xff" + SECRET, b"hunter2: {", b"hunter2: 1"]
)
def test_what_is_no_recipe_is_not_shown(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "passwd.yaml").write_bytes(content)
    code, out, err = run_cli("train", tmp_path / "passwd.yaml", "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    assert "passwd.yaml" in err
    assert "hunter2" not in err
    assert len(err) < 500


def test_a_mistyped_key_of_a_recipe_is_shown(tmp_path: Path) -> None:
    """Also if it is the only one."""
    for key, meant in {"tarin": "train", "epochs": "epochs", "Seed": "seed"}.items():
        (path := tmp_path / "mine.yaml").write_text(f"{key}: 3")
        refused("train", path, "--out", tmp_path / "out", quoted=["mine.yaml", f"'{key}'", meant])


def test_built_in_recipes_are_as_yaml_has_them() -> None:
    for name, (path, _) in recipes().items():
        assert read_recipe(name) == yaml.safe_load(path.read_text())
        parse_recipe(read_recipe(name))


def test_what_the_command_line_makes_of_a_file(tmp_path: Path) -> None:
    """Every key of every recipe, and text, lists and mappings of one's own, come through."""
    own = {
        "data": {"name": "a, b: {c}.npz", "dir": "null.d"},
        "model": {"sizes": [8, 4]},
        "train": {"lr": 1e-05, "lr_schedule": {"kind": "steps", "steps": {5: 0.1, 7: 1e-7}}, "train_threshold": None},
        "prune": {"max_inputs": [3]},
    }
    (empty := tmp_path / "empty.yaml").write_text("{}")
    for content in (own, *(read_recipe(name) for name in recipes())):
        (path := tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
        texts = [f"--{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in flat(content).items()]
        for arguments in ([path], [empty, "--config", path], [empty, *texts]):
            code, out, err = run_cli("train", *arguments, "--print-config")
            assert (code, err) == (0, "")
            (printed := tmp_path / "printed.yaml").write_text(out)
            assert parse_recipe(read_yaml(printed)) == parse_recipe(content)


@pytest.mark.parametrize(
    ("content", "name", "value", "allowed"),
    [
        ({"train": {"epochs": "x"}}, "train.epochs", "x", "an integer"),
        ({"train": {"train_threshold": []}}, "train.train_threshold", [], "a finite number or null"),
        (
            {"train": {"lr": 2**53 + 1}},
            "train.lr",
            2**53 + 1,
            "a finite number, and an integer only if a float is exactly that",
        ),
        ({"train": {"guide": "nosuch"}}, "train.guide.kind", "nosuch", "one of 'variational', 'group', 'log-normal'"),
        ({"train": {"guide": {"log_sigma2": 1}}}, "train.guide.log_sigma2", 1.0, "a finite number >= -60 and <= 0"),
        ({"model": {"sizes": [8, 4.5]}}, "model.sizes.1", 4.5, "an integer"),
        ({"prune": 5}, "prune", 5, "keys and values"),
        ({"seed": -1}, "seed", -1, "an integer >= 0"),
    ],
)
def test_an_error_has_name_value_and_what_is_allowed(content: dict[str, Any], name: str, value: Any, allowed: str) -> None:
    with refuses(name, value, f"mine.yaml: {name} (={value})") as caught:
        parse_recipe(content, "mine.yaml")
    assert str(caught.value.allowed).startswith(allowed)


def test_the_kind_that_a_recipe_has_by_default_keeps_its_settings() -> None:
    """Whether a file writes the kind or leaves it out: its other settings go only where another kind is laid over it."""
    base = {"train": {"guide": {"log_sigma2": -5.0}}}
    for kind in ("variational", {"kind": "variational"}):
        guide = overlaid(base, {"train": {"guide": kind}}, Recipe)["train"]["guide"]
        assert guide == {"kind": "variational", "log_sigma2": -5.0}
    assert overlaid(base, {"train": {"guide": "group"}}, Recipe)["train"]["guide"] == {"kind": "group"}
