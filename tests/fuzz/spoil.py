"""What spoils one place in a tree of tensors, or one value of a description."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterator
from typing import Any

import torch
from mutate import spoil_tree
from torch import Tensor
from wrong_values import other_than, same_as, wrong_for

from pyro_vd._core.sealed import seal_zip

Place = tuple[Any, ...]
KINDS = {"wrong": wrong_for, "same": same_as, "other": other_than}


def places(tree: Any, path: Place = ()) -> Iterator[Place]:
    """The paths to the values in a tree, of those that are alike in lists the first and the last one."""
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    alike = isinstance(tree, list) or all(isinstance(key, int) for key in keys)
    for key in dict.fromkeys((keys[0], keys[-1])) if alike and keys else keys:
        yield (*path, key)
        if isinstance(tree[key], dict | list):
            yield from places(tree[key], (*path, key))


def at(tree: Any, place: Place) -> Any:
    for key in place:
        tree = tree[key]
    return tree


def spoilt(good: bytes, place: Place, kind: str, number: int) -> bytes:
    """A checkpoint with a right digest and another value at a place, or with nothing there."""
    content = torch.load(io.BytesIO(good), weights_only=True)
    tree = at(content, place[:-1])
    if kind == "gone":
        del tree[place[-1]]
    else:
        tree[place[-1]] = list(KINDS[kind](tree[place[-1]]))[number]
    return _sealed(content)


def _sealed(content: Any) -> bytes:
    torch.save(content, buffer := io.BytesIO())
    return bytes(seal_zip(buffer))


def spoil_leaf(rng: random.Random, good: bytes) -> bytes:
    """A checkpoint with a right digest and a leaf, or a branch, of another form or value."""
    content = torch.load(io.BytesIO(good), weights_only=True)
    place = rng.choice(list(places(content)))
    value = at(content, place)
    if rng.random() < 0.2 and not isinstance(value, Tensor):
        at(content, place[:-1])[place[-1]] = spoil_tree(rng, value)
        return _sealed(content)
    kind = rng.choice((*KINDS, "gone"))
    count = len(list(KINDS[kind](value))) if kind in KINDS else 0
    return spoilt(good, place, kind if count else "gone", rng.randrange(count or 1))


def spoil_description(rng: random.Random, good: bytes) -> bytes:
    """A safetensors file with another description, or header."""
    length = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + length])
    if rng.random() < 0.5:
        header = spoil_tree(rng, header)
    else:
        ((mark, text),) = header["__metadata__"].items()
        header["__metadata__"] = {mark: json.dumps(spoil_tree(rng, json.loads(text)))}
    if isinstance(header, dict) and rng.random() < 0.3:
        for part in header.values():
            if isinstance(part, dict) and "dtype" in part:
                part["dtype"] = rng.choice(("F8_E4M3", "F8_E5M2", "F4", "U16", "U32", "BOOL", "C64", "F64", "I8", "X"))
                break
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + good[8 + length :]
