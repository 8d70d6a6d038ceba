"""The number of examples and of draws of the weights to run at a time, so that activations fit into a number of bytes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pyro_vd.networks.inputs import tensors_in

BYTES_ON_CPU, BYTES_ELSEWHERE = 16 * 2**20, 512 * 2**20
"""Bytes of activations at a time. A CPU is slower with more than its caches hold, a GPU with too little work."""
MOST_ROWS, MOST_DRAWS = 2048, 16
"""Upper limits of examples and of draws at a time; more are not faster."""


class PeakBytes(TorchDispatchMode):
    """Dispatch mode that counts the bytes of live tensors that operations have created since it was entered."""

    def __init__(self) -> None:
        super().__init__()
        self.peak: int = 0
        self._now = 0
        self._living: dict[int, list[int]] = {}  # by storage: its bytes, and the number of its tensors

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {_storage(tensor)._cdata for tensor in _strided((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _strided(result):
            storage = _storage(tensor)
            key = storage._cdata
            if key not in self._living:
                if key in given:  # a view of a weight, or of an input
                    continue
                self._living[key] = [storage.nbytes(), 0]
                self._now += storage.nbytes()
                self.peak = max(self.peak, self._now)
            self._living[key][1] += 1
            weakref.finalize(tensor, self._let_go, key).atexit = False
        return result

    def _let_go(self, key: int) -> None:
        self._living[key][1] -= 1
        if not self._living[key][1]:
            self._now -= self._living.pop(key)[0]


def _strided(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.layout is torch.strided]


def _storage(tensor: Tensor) -> Any:
    return tensor.untyped_storage()


def bytes_per_example(outputs: Callable[[int], Any], n: int) -> int | None:
    """Return the bytes that ``outputs`` needs per example, measured with two; None if examples cannot run separately.

    Examples cannot run separately if ``outputs`` fails for so few, as with a graph network, or if the output of an example
    depends on the others, as with batch normalisation without running statistics. The state of torch's random generators is
    restored.

    Args:
        outputs: maps k to the outputs of the first k examples, ``(k, …)``, in any form.
        n: the number of examples.
    """
    few = min(2, n)
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            first = outputs(1)  # before counting, because it may create tensors once and keep them
            with PeakBytes() as measured:
                several = outputs(few)
            if _differ(first, several) and not _differ(first, outputs(1)):  # else outputs are random
                return None
    except Exception:  # the run with all examples shows whether this is an error
        return None
    return max(measured.peak // few, 1)


def _differ(first: Any, others: Any) -> bool:
    """Whether the outputs of the first example differ in two runs."""
    both = zip(tensors_in(first), tensors_in(others), strict=True)
    pairs = ((a, b[:1]) for a, b in both if a.shape[:1] == (1,) and a.dtype != torch.bool)
    return any(bool((a - b).abs().max() > 0.01 * torch.maximum(a.abs().max(), b.abs().max())) for a, b in pairs)


def rows_at_once(outputs: Callable[[int], Any], n: int, device: torch.device) -> int:
    """Return the number of examples to run at a time, all if they cannot run separately; see :func:`bytes_per_example`."""
    each = bytes_per_example(outputs, n)
    return n if each is None else max(1, min(_bytes(device) // each, MOST_ROWS, n))


def draws_at_once(outputs: Callable[[int], Any], n: int, device: torch.device, weights: int) -> tuple[int, int]:
    """Return the number of draws, and the number of examples per draw, to run at a time.

    There are several draws only if all examples fit into memory at a time; otherwise one draw after another is as fast.

    Args:
        outputs: maps k to the outputs of the first k examples with one draw, ``(k, …)``.
        n: the number of examples.
        device: the device on which ``outputs`` runs.
        weights: bytes of one draw of the weights.
    """
    each = bytes_per_example(outputs, n)
    if each is None:
        return 1, n
    rows = max(1, min(_bytes(device) // each, MOST_ROWS, n))
    return max(1, min(_bytes(device) // max(each * n, weights), MOST_DRAWS)), rows


def _bytes(device: torch.device) -> int:
    return BYTES_ON_CPU if device.type == "cpu" else BYTES_ELSEWHERE
