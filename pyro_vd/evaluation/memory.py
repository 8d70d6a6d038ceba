"""How many examples, and how many draws of the weights, to run at a time: as many as fit into so many bytes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BYTES_ON_CPU, BYTES_ELSEWHERE = 16 * 2**20, 512 * 2**20
"""Of activations at a time. A CPU is slower with more than its caches hold, a GPU with less than keeps it busy."""
MOST_ROWS, MOST_DRAWS = 2048, 16
"""More are no faster."""


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that operations make, as long as they live; what was there before does not count."""

    def __init__(self) -> None:
        super().__init__()
        self.peak: int = 0
        self._now = 0
        self._living: dict[int, list[int]] = {}  # by storage: its bytes, and how many tensors look at it

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


def bytes_per_example(outputs: Callable[[int], Tensor], n: int) -> int | None:
    """How many bytes ``outputs`` takes for each example, measured with two; None where examples cannot be run apart.

    That is where it fails for so few, as a graph network does, or where an example's output depends on the others', as under
    batch normalisation without statistics. The state of torch's generators is put back.

    Args:
        outputs: maps k to the outputs of the first k examples, ``(k, …)``.
        n: the number of examples there are.
    """
    few = min(2, n)
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            first = outputs(1)  # before anything is counted: what is made once and kept is not of an example
            with PeakBytes() as measured:
                several = outputs(few)
            if _differ(first, several[:1]) and not _differ(first, outputs(1)):  # else it is random, which shows nothing
                return None
    except Exception:  # whatever it raises, it does so again, or does not, for all examples
        return None
    return max(measured.peak // few, 1)


def _differ(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() > 0.01 * torch.maximum(a.abs().max(), b.abs().max()))


def rows_at_once(outputs: Callable[[int], Tensor], n: int, device: torch.device) -> int:
    """How many examples to run at a time: all of them where they cannot be run apart; see :func:`bytes_per_example`."""
    each = bytes_per_example(outputs, n)
    return n if each is None else max(1, min(_bytes(device) // each, MOST_ROWS, n))


def draws_at_once(outputs: Callable[[int], Tensor], n: int, device: torch.device, weights: int) -> tuple[int, int]:
    """How many draws of weights of so many bytes, and how many examples of each, to run at a time.

    Several draws only where all examples fit in beside one another: otherwise one draw after the other is as fast.
    """
    each = bytes_per_example(outputs, n)
    if each is None:
        return 1, n
    rows = max(1, min(_bytes(device) // each, MOST_ROWS, n))
    return max(1, min(_bytes(device) // max(each * n, weights), MOST_DRAWS)), rows


def _bytes(device: torch.device) -> int:
    return BYTES_ON_CPU if device.type == "cpu" else BYTES_ELSEWHERE
