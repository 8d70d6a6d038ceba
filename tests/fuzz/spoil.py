"""What spoils one leaf of a tree of tensors, or one value of a description."""

from __future__ import annotations

import io
import json
import random
from typing import Any

import torch
from mutate import spoil_tree
from torch import Tensor, nn

from pyro_vd._core.sealed import seal_zip


def spoil_leaf(rng: random.Random, good: bytes) -> bytes:
    """A checkpoint with a right digest and a leaf of another shape, type, device of storage, or value."""
    state = torch.load(io.BytesIO(good), weights_only=True)
    places: list[tuple[Any, Any]] = []

    def collect(tree: Any) -> None:
        for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
            places.append((tree, key))
            if isinstance(tree[key], dict | list):
                collect(tree[key])

    collect(state)
    tensors = [place for place in places if isinstance(place[0][place[1]], Tensor)]
    tree, key = rng.choice(tensors if rng.random() < 0.5 else places)
    value = tree[key]
    wrong: list[Any] = [None, 3, -1, "x", [], {}, [1], torch.zeros(1), torch.zeros(0), torch.tensor(-1.0), (1, 2), 1e300]
    if isinstance(value, Tensor):
        wrong += [value.double(), value.long(), value.flatten()[:1], value.unsqueeze(0), value.expand(2, *value.shape)]
        wrong += [
            torch.full_like(value, 1),
            value.clone().fill_(-1) if value.is_floating_point() else value,
            value * 0,
            value.t(),
        ]
        wrong += [value.to_sparse(), nn.Parameter(value)] if value.is_floating_point() else []
        if value.is_floating_point():
            wrong += [torch.full_like(value, torch.nan), torch.full_like(value, torch.inf)]
    if isinstance(tree, dict) and rng.random() < 0.15:
        del tree[key]
    else:
        tree[key] = rng.choice(wrong) if rng.random() < 0.8 else spoil_tree(rng, value if not isinstance(value, Tensor) else 0)
    torch.save(state, buffer := io.BytesIO())
    return bytes(seal_zip(buffer))


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
