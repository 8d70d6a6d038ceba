"""The state of a guide beside its parameters: the masks of removed weights, and the threshold of its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro.nn import PyroModule
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd.guides.checks import check_train_threshold
from pyro_vd.networks.markers import GuideMarker

_THRESHOLD = "train_threshold"  # the key in a guide's state


class GuideState(GuideMarker, PyroModule):
    """The state of a :class:`~pyro_vd.guides.WeightGuide` beside its parameters, saved and loaded with them."""

    site_names: list[str]
    """The names of the weight sites, in the order of ``model.weight_names``."""
    learns_alpha = False
    """Whether the guide learns log α, so that weights can be removed by it."""
    _train_threshold: float | None = None

    @property
    def train_threshold(self) -> float | None:
        """The log α in [−100, 100] at or above which means are held at zero whenever the guide is drawn; None holds none.

        With it, the network trains, predicts and is measured as it will be pruned; the KL still depends on θ.
        :func:`~pyro_vd.fit` sets the threshold, and the guide's state contains it.

        Raises:
            InputError: it is set to anything but None and a number in this range, or to a number where the guide learns no α.
        """
        return self._train_threshold

    @train_threshold.setter
    def train_threshold(self, value: float | None) -> None:
        self._train_threshold = self.check_train_threshold(value)

    def check_train_threshold(self, value: float | None) -> float | None:
        """Return a value for :attr:`train_threshold` as a number, or None.

        Raises:
            InputError: :attr:`train_threshold` cannot have this value.
        """
        number = check_train_threshold(value)
        if number is not None and not self.learns_alpha:
            raise InputError(
                name="train_threshold",
                value=number,
                allowed=f"None with {type(self).__name__}, which learns no α to compare with a threshold",
            )
        return number

    def site(self, name: str) -> Any:
        """Return the module that holds the parameters of a site."""
        module: Any = self._modules["sites"]
        for part in name.split("."):
            module = module._modules[part]
        return module

    def mask(self, name: str) -> Tensor | None:
        """Return the mask of a site, True where a weight is left; None where :meth:`apply_masks` has removed nothing."""
        return self.site(name)._buffers.get("mask")

    def apply_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Remove weights permanently: where a mask is False, the weight is 0, without noise, from now on.

        The weights that are left can be trained further, which is masked fine-tuning.

        Args:
            masks: for each site, a boolean tensor of its weight's shape, such as :func:`~pyro_vd.pruning.pruning_masks` gives.

        Raises:
            InputError: there is not exactly one boolean mask per site, with its weight's shape.
        """
        if not isinstance(masks, Mapping) or not all(isinstance(mask, Tensor) for mask in masks.values()):
            raise InputError(name="masks", value=masks, allowed="boolean tensors by site, such as pruning_masks gives")
        given = {name: (tuple(mask.shape), mask.dtype) for name, mask in masks.items()}
        wanted = {name: (tuple(self.site(name).theta.shape), torch.bool) for name in self.site_names}
        if given != wanted:
            raise InputError(
                f"masks have the sites, shapes and types {given}; they must have {wanted}, those of the weights",
                name="masks",
                value=given,
                allowed=f"masks with the sites, shapes and types {wanted}",
            )
        for name, mask in masks.items():
            self.site(name).keep(mask)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a state, as ``nn.Module.load_state_dict`` does; where that raises, restore masks and threshold.

        Numbers can be loaded again, but a removed weight never comes back: a state that is refused must not remove any.
        """
        masks, threshold = {name: self.mask(name) for name in self.site_names}, self._train_threshold
        try:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        except Exception:
            for name, mask in masks.items():
                self.site(name).put_back(mask)
            self._train_threshold = threshold
            raise

    @property
    def optional_state(self) -> dict[str, Tensor]:
        """The entries that a state may have and this guide does not have now: by name, tensors of the right shape and type."""
        return {} if self._train_threshold is not None else {_THRESHOLD: torch.empty((), dtype=torch.float64, device="meta")}

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._train_threshold is not None:
            destination[f"{prefix}{_THRESHOLD}"] = torch.tensor(self._train_threshold, dtype=torch.float64, device="cpu")

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        given = state_dict.pop(f"{prefix}{_THRESHOLD}", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        if given is None and not self._is_whole(state_dict, prefix):
            return  # a state with some of the entries leaves all others as they are
        try:
            self.train_threshold = None if given is None else float(given)
        except (InputError, TypeError, ValueError, RuntimeError) as error:
            rest[-1].append(f"{prefix}{_THRESHOLD}: {error}")

    def _is_whole(self, state_dict: Mapping[str, Any], prefix: str) -> bool:
        """Whether a state has the means of every site."""
        return all(f"{prefix}sites.{name}.theta" in state_dict for name in self.site_names)
