"""What a guide has beside its parameters: weights removed for good, and the threshold that it was trained with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pyro.nn import PyroModule
from torch import Tensor

from pyro_vd._core.arguments import check_number
from pyro_vd._core.errors import InputError
from pyro_vd.networks.markers import GuideMarker

_THRESHOLD = "train_threshold"  # in the state of a guide


class GuideState(GuideMarker, PyroModule):
    """The state of a :class:`~pyro_vd.guides.WeightGuide`, saved and loaded with it."""

    site_names: list[str]
    """The weight sites, in the order of the model's."""
    learns_alpha = False
    """Whether log α is learnt, so that it can say what to remove."""
    _train_threshold: float | None = None

    @property
    def train_threshold(self) -> float | None:
        """log α in [−100, 100] at or above which means are held at zero wherever the guide is drawn; None holds nothing.

        The network then trains, predicts and is measured as it will be pruned; the KL still sees θ. :func:`~pyro_vd.fit` sets
        it, and the guide's state has it.

        Raises:
            InputError: set to something else; or to a number where the guide learns no α.
        """
        return self._train_threshold

    @train_threshold.setter
    def train_threshold(self, value: float | None) -> None:
        self._train_threshold = self.check_train_threshold(value)

    def check_train_threshold(self, value: float | None) -> float | None:
        """The value as a number, or None.

        Raises:
            InputError: :attr:`train_threshold` cannot be that.
        """
        if value is None:
            return None
        number: float = check_number("train_threshold", value, low=-100, high=100)
        if not self.learns_alpha:
            raise InputError(
                name="train_threshold",
                value=number,
                allowed=f"None with {type(self).__name__}, which learns no α to hold means by",
            )
        return number

    def site(self, name: str) -> Any:
        """The module that holds the parameters of a site."""
        module: Any = self._modules["sites"]
        for part in name.split("."):
            module = module._modules[part]
        return module

    def mask(self, name: str) -> Tensor | None:
        """True where a site's weight is left; None if :meth:`apply_masks` removed nothing."""
        return self.site(name)._buffers.get("mask")

    def apply_masks(self, masks: Mapping[str, Tensor]) -> None:
        """Remove weights for good: where a mask is False the weight is 0, without noise, from now on.

        What is left can then be trained on, which is masked fine-tuning.

        Args:
            masks: for each site, a boolean tensor of its weight's shape, as of :func:`~pyro_vd.pruning.pruning_masks`.

        Raises:
            InputError: not exactly one boolean mask per site, of its weight's shape.
        """
        if not isinstance(masks, Mapping) or not all(isinstance(mask, Tensor) for mask in masks.values()):
            raise InputError(name="masks", value=masks, allowed="boolean tensors by site, as of pruning_masks")
        given = {name: (tuple(mask.shape), mask.dtype) for name, mask in masks.items()}
        wanted = {name: (tuple(self.site(name).theta.shape), torch.bool) for name in self.site_names}
        if given != wanted:
            raise InputError(f"masks {given} do not fit the weights, which need {wanted}")
        for name, mask in masks.items():
            self.site(name).keep(mask)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of any module; where it raises, no weight has been removed: a mask, unlike a number, cannot be loaded over."""
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
        """What a state may have beside what this guide has now, by name, as tensors of the right shape and type."""
        return {} if self._train_threshold is not None else {_THRESHOLD: torch.empty((), dtype=torch.float64, device="meta")}

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._train_threshold is not None:
            destination[f"{prefix}{_THRESHOLD}"] = torch.tensor(self._train_threshold, dtype=torch.float64)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        given = state_dict.pop(f"{prefix}{_THRESHOLD}", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)
        try:
            self.train_threshold = None if given is None else float(given)
        except (InputError, TypeError, ValueError, RuntimeError) as error:
            rest[-1].append(f"{prefix}{_THRESHOLD}: {error}")
