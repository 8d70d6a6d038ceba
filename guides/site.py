"""The parameters of one weight site, and the mask of its removed weights."""

from __future__ import annotations

from typing import Any

import torch
from pyro.nn import PyroModule
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor


class Site(PyroModule):
    """The parameters of one posterior; buffers ``mask`` after weights were removed, and ``units`` where factors are shared.

    Loading a state can remove weights, but never brings a removed weight back: where both the state and the site have a mask,
    the weights that both keep are left. A state that is refused removes nothing.
    """

    theta: Tensor

    def __getattr__(self, name: str) -> Any:
        """Return a parameter, of which Pyro is told where an effect handler is active."""
        own = self.__dict__.get("_parameters")
        return own[name] if own is not None and name in own and not _PYRO_STACK else super().__getattr__(name)

    def keep(self, mask: Tensor) -> None:
        """Remove the weights where ``mask``, a boolean tensor of the weight's shape, is False."""
        mask, own = mask.to(self.theta.device), self._buffers.get("mask")
        self.register_buffer("mask", mask.clone() if own is None else mask & own)

    def number_units(self, numbers: Tensor | None) -> None:
        """Set the numbers of the factors of the inputs, a buffer ``units``, or remove the buffer where there are none."""
        self._buffers.pop("units", None)
        if numbers is not None:
            self.register_buffer("units", numbers.to(self.theta.device))

    def put_back(self, mask: Tensor | None) -> None:
        """Restore an earlier mask, or none where it is None, after a state that could not be loaded."""
        self._buffers.pop("mask", None)
        if mask is not None:
            self.register_buffer("mask", mask)

    @property
    def optional_state(self) -> dict[str, Tensor]:
        """The entries that a state may have and this module does not have now: by name, tensors of the right shape and type."""
        return {} if "mask" in self._buffers else {"mask": torch.empty_like(self.theta, dtype=torch.bool, device="meta")}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        given, own, shape = state_dict.get(key := f"{prefix}mask"), self._buffers.get("mask"), self.theta.shape
        if given is not None and (given.dtype, given.shape) != (torch.bool, shape):
            errors: list[str] = rest[-1]
            errors.append(f"{key} is {given.dtype} {tuple(given.shape)}; it must be torch.bool {tuple(shape)}")
        elif given is not None:
            self.keep(given)
        if (mask := self._buffers.get("mask")) is not None:
            state_dict[key] = mask
        super()._load_from_state_dict(state_dict, prefix, *rest)
        strict, missing, unexpected, failed = rest[-4:]
        if failed or (strict and (missing or unexpected)):
            self.put_back(own)
