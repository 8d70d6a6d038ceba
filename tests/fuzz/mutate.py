"""Ways to spoil a file: its bytes, the tree in it, and the headers of a zip file and of the arrays in it."""

from __future__ import annotations

import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

Mutation = Callable[[random.Random, bytes], bytes]


def spoil_bytes(rng: random.Random, good: bytes) -> bytes:
    """Flip, cut, insert, overwrite, repeat or swap, one to three times; anywhere, but more often where headers are."""
    data = bytearray(good)
    for _ in range(rng.choice((1, 1, 2, 3))):
        size = max(1, len(data))
        place = rng.choice((rng.randrange(size), min(size - 1, rng.randrange(200)), max(0, size - 1 - rng.randrange(200))))
        length = rng.choice((1, 1, 2, 4, 8, 100))
        match rng.randrange(7):
            case 0 if data:
                data[place] ^= 1 << rng.randrange(8)
            case 1:
                del data[place:]
            case 2:
                data[place:place] = rng.randbytes(length)
            case 3:
                data[place : place + length] = rng.randbytes(length)
            case 4:
                data[place : place + length] = bytes([rng.choice((0, 1, 127, 128, 255))]) * length
            case 5:
                del data[place : place + length]
            case _:
                data[place:place] = data[rng.randrange(size) :][:length]
    return bytes(data)


def _nested(levels: int) -> Any:
    tree: Any = 0
    for _ in range(levels):
        tree = [tree]
    return tree


WRONG: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 1e300, 10**30, 10**400, "", "x", "1", "null", "\ud800", "é"),
    *([], {}, [1], ["x"], [None], {"value": None}, {"x": {}}, _nested(5), _nested(200)),
)
"""Put where something else belongs."""


def spoil_tree(rng: random.Random, tree: Any) -> Any:
    """The tree with something wrong at a random place, or without it, or with one thing more."""
    if isinstance(tree, dict | list) and tree and rng.random() < 0.85:
        copy: Any = dict(tree) if isinstance(tree, dict) else list(tree)
        key = rng.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
        match rng.randrange(8):
            case 0:
                del copy[key]
            case 1 if isinstance(copy, dict):
                copy[rng.choice(("x", "", "épsilon"))] = copy[key]
            case 1:
                copy.append(copy[key])
            case _:
                copy[key] = spoil_tree(rng, copy[key])
        return copy
    return rng.choice(WRONG)


def spoil_json(rng: random.Random, good: bytes) -> bytes:
    """One line of JSON with another tree, or with what Python's reader takes and JSON does not allow."""
    by_line = good.count(b"\n") > 1 and all(line.startswith(b"{") for line in good.splitlines())
    lines = good.decode().splitlines() if by_line else [good.decode()]
    number = rng.randrange(len(lines))
    tree = json.loads(lines[number])
    match rng.randrange(10):
        case 0:
            text = json.dumps(tree).replace("0", rng.choice(("NaN", "Infinity", "1e999", "1" * 5000)), 1)
        case 1:
            text = rng.choice(("[" * 100_000, '{"a":' * 50_000, "", "null", '"\\ud800"', '{"seed": 1, "seed": 2}'))
        case _:
            text = json.dumps(spoil_tree(rng, tree))
    return "".join(f"{line}\n" for line in [*lines[:number], text, *lines[number + 1 :]]).encode()


_BOMB = "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True))
_YAML = (
    *("seed: 2001-13-45", "seed: 0x_", "seed: " + "1" * 5000, "seed: 0x" + "f" * 5000, "seed: 1:30", "seed: 010", "seed: yes"),
    *("seed: !!float ''", "seed: !!bool maybe", "seed: !!timestamp x", "seed: !!python/object/apply:os.getcwd []"),
    *("seed: 1\nseed: 2", "train: &a {train: *a}", "train: &a {}\nfinetune: *a", "<<: {seed: 3}", "? [a, b]\n: 1"),
    *("train: " + "[" * 3000, "train: " + "{a: " * 3000, "a: &a [x, x, x, x, x, x, x, x, x]\n" + _BOMB, "#" * 2_000_000),
    *("finetune: 3", "train: true", "pretrain: []", "augment: 3", "train:", "data: {name: ~}", "model: {sizes: 1}"),
    *("train: {kl_weight: [1]}", "train: {kl_weight: {value: null}}", "train: {lr_schedule: {kind: steps, steps: {x: 1}}}"),
    *(
        "--- {}\n--- {}",
        "%YAML 9.9\n---\n",
        "\x00",
        "a: b: c",
        "\t- x",
        "".join(f"k{number}: 1\n" for number in range(150_000)),
    ),
)


def spoil_yaml(rng: random.Random, good: bytes) -> bytes:
    """A recipe with another tree, or with one of the things that YAML knows and recipes do not need."""
    import yaml

    if rng.random() < 0.4:
        return good + rng.choice(_YAML).encode() if rng.random() < 0.5 else rng.choice(_YAML).encode()
    tree = spoil_tree(rng, yaml.safe_load(good))
    return json.dumps(tree).encode() if rng.random() < 0.5 else yaml.safe_dump(tree, allow_unicode=False).encode()


_PLAIN = "{'descr': %s, 'fortran_order': False, 'shape': %s}"
_NPY = (
    *(_PLAIN % ("'<f8'", shape) for shape in ("(10**9,)", "(1000000000000,)", "(-3,)", "(2.5,)", "(True,)", "3", "'x'", "()")),
    *(_PLAIN % (kind, "(3,)") for kind in ("'|O'", "[('a', '<f8')]", "'<V0'", "'<M8'", "'<U0'", "'>c16'", "3", "'x'", "None")),
    *("__import__('os').getcwd()", "(" * 1500, "-" * 1900, "{}", "[", "x" * 9000),
)


def spoil_zip(rng: random.Random, good: bytes) -> bytes:
    """Flags, methods, sizes and names in the headers of a zip file; or a member that is another one, its checksum right."""
    if rng.random() < 0.4:
        return _other_member(rng, good)
    data = bytearray(good)
    signature, fields = rng.choice(
        ((b"PK\1\2", (6, 8, 10, 16, 20, 24, 28, 30, 42, 46)), (b"PK\3\4", (4, 6, 8, 14, 18, 22, 26, 30)))
    )
    places = [place for place in range(len(data) - 46) if data[place : place + 4] == signature]
    if places:
        place = rng.choice(places) + rng.choice(fields)
        value = rng.choice((0, 1, 8, 12, 14, 93, 95, 2**16 - 1, rng.randrange(2**16)))
        data[place : place + 2] = struct.pack("<H", value)
        if signature == b"PK\1\2" and rng.random() < 0.3:  # encrypted, as far as both headers say
            for first, flag in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
                where = data.find(first)
                data[where + flag] |= 1
    return bytes(data)


def _other_member(rng: random.Random, good: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as source, zipfile.ZipFile(buffer, "w") as target:
        members = source.infolist()
        spoilt = rng.choice(members)
        for member in members:
            content = source.read(member)
            if member is spoilt:
                header = rng.choice(_NPY).encode().ljust(118) + b"\n"
                version = rng.choice((b"\1\0", b"\1\0", b"\2\0", b"\3\0", b"\7\0"))
                length = struct.pack("<H" if version == b"\1\0" else "<I", len(header))
                match rng.randrange(5):
                    case 0:
                        content = rng.choice(
                            (b"", b"no array", b"\x93NUMPY", b"\0" * 300_000_000, content[:-1], content + b"\0")
                        )
                    case 1:
                        member.filename = rng.choice((members[0].filename, "x", "x.npy", "../x.npy", "weight of 9.npy"))
                    case 2:
                        content = spoil_bytes(rng, content)
                    case _:
                        content = b"\x93NUMPY" + version + length + header + content[128:]
            kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
            if len(content) > 10**6:
                kind = zipfile.ZIP_DEFLATED  # the slow ones would take a minute
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a name that is there twice
                target.writestr(member.filename, content, kind if member is spoilt else zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
