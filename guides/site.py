"""The parameters of one weight site, and which of its weights are left."""

from __future__ import annotations

from typing import Any

import torch
from pyro.nn import PyroModule
from torch import Tensor


class Site(PyroModule):
    """Holds the parameters of one posterior, and a buffer ``mask`` once weights have been removed.

    A state that is loaded can remove weights and never bring one back: a mask in it is registered, and of two masks what both
    keep is left.
    """

    theta: Tensor

    def keep(self, mask: Tensor) -> None:
        """Remove the weights where ``mask``, a boolean tensor of the weight's shape, is False."""
        mask, own = mask.to(self.theta.device), self._buffers.get("mask")
        self.register_buffer("mask", mask.clone() if own is None else mask & own)

    @property
    def optional_state(self) -> dict[str, Tensor]:
        """What a state may have beside what this module has now, by name, as tensors of the right shape and type."""
        return {} if "mask" in self._buffers else {"mask": torch.empty_like(self.theta, dtype=torch.bool, device="meta")}

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        given, own, shape = state_dict.get(key := f"{prefix}mask"), self._buffers.get("mask"), self.theta.shape
        if given is not None and (given.dtype, given.shape) != (torch.bool, shape):
            errors: list[str] = rest[-1]
            errors.append(f"{key} is {given.dtype} {tuple(given.shape)}; it must be torch.bool {tuple(shape)}")
        elif given is not None:
            self.keep(given)
            state_dict[key] = self._buffers["mask"]
        elif own is not None:
            state_dict[key] = own
        super()._load_from_state_dict(state_dict, prefix, *rest)
