"""Large tensors in parts whose buffers fit into the cache of a processor."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pyro_vd._core.recording import is_recording

_CHUNK = 1 << 17  # number of elements at a time on the CPU
_BUFFERS = 8
_local = threading.local()


def parts(*tensors: Tensor, buffers: int) -> Iterator[tuple[Sequence[Tensor], Sequence[Tensor]]]:
    """Yield corresponding parts of contiguous tensors of one shape, flat, and up to eight buffers of the size of a part.

    On the CPU the buffers of a part fit into the cache. On another device there is one part, and so there is for a compiler,
    which makes the parts itself.
    """
    flat = [tensor.view(-1) for tensor in tensors]
    total = flat[0].numel()
    if flat[0].device.type != "cpu" or is_recording():
        yield flat, [flat[0].new_empty(total) for _ in range(buffers)]
        return
    own = _buffers_of_thread(flat[0].dtype)[:buffers]
    for start in range(0, total, _CHUNK):
        size = min(total - start, _CHUNK)
        some = own if size == _CHUNK else [buffer[:size] for buffer in own]
        yield flat if size == total else [tensor[start : start + size] for tensor in flat], some


def _buffers_of_thread(dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Return the buffers of this thread; new ones would cost a page fault for each of their pages in every step."""
    held: dict[torch.dtype, tuple[Tensor, ...]] = vars(_local).setdefault("held", {})
    if dtype not in held:
        with torch.inference_mode(False):  # later calls with gradients could not use those of inference mode
            held[dtype] = torch.empty(_BUFFERS, _CHUNK, dtype=dtype, device="cpu").unbind()
    return held[dtype]
