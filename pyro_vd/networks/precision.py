"""Mixed precision: the forward pass of a network in a type of 16 bits, with parameters and outputs in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.networks.inputs import Inputs, device_of, map_tensors

Precision = Literal["full", "bf16-mixed"]
PRECISIONS: dict[str, torch.dtype | None] = {"full": None, "bf16-mixed": torch.bfloat16}
"""The type of the forward pass; None is that of the parameters."""


class MixedPrecision:
    """Part of a model whose network can be run under autocast, while all that is around it stays in full precision."""

    forward_dtype: torch.dtype | None = None
    """Type of the operations that autocast lowers; None lowers nothing. :func:`lowered` sets it."""

    def in_precision(self, forward: Callable[[nn.Module, Inputs], Any], net: nn.Module, x: Inputs) -> Any:
        """Return the network's output, as ``forward`` gives it, of which lowered tensors are made float32."""
        dtype = self.forward_dtype
        if dtype is None:
            return forward(net, x)
        with torch.autocast(device_of(x).type, dtype):
            output = forward(net, x)

        def raised(tensor: Tensor) -> Tensor:
            return tensor.float() if tensor.dtype == dtype else tensor

        return map_tensors(raised, output)


@contextmanager
def lowered(model: MixedPrecision, precision: Precision) -> Iterator[None]:
    """Run the model's network in this precision inside the context."""
    before, model.forward_dtype = model.forward_dtype, PRECISIONS[precision]
    try:
        yield
    finally:
        model.forward_dtype = before


def check_precision(precision: Precision, parameters: dict[str, Tensor], device: torch.device) -> None:
    """Refuse mixed precision where autocast would lower nothing.

    Raises:
        InputError: parameters of another type than float32, or a device without autocast.
    """
    if precision == "full":
        return
    if not torch.amp.is_autocast_available(device.type):
        raise InputError(name="precision", value=precision, allowed=f"'full' on the device {device}, which has no autocast")
    for name, parameter in parameters.items():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            raise InputError(
                f"precision (={precision!r}) needs parameters of float32; {name!r} is of type {parameter.dtype}",
                name="precision",
                value=precision,
                allowed="'full' for a network of another type than float32",
            )
