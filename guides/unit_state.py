"""The factors of a guide with noise on units, which belong to one site or to several, and their state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.distributions.unit_layout import UnitLayout
from pyro_vd.guides.unit_sharing import UnitSharing
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork

_UNITS = ("z_mu", "z_log_sigma2")
"""The parameters of factors."""


class UnitState(WeightGuide):
    """A guide whose sites have factors of their own, or share some.

    Shared factors are parameters of one of the sites that have them. Each site then has a buffer ``units``, with a number per
    input; the same number means the same factor.
    """

    def __init__(self, model: BayesianNetwork) -> None:
        super().__init__(model)
        self._own_layouts = dict(self._layouts)
        self._sharing: UnitSharing = UnitSharing.of(self._own_layouts, None)

    @abstractmethod
    def initial_units(self, name: str, count: int, weight: Tensor) -> dict[str, Tensor]:
        """Return the initial parameters of a site's ``count`` factors, of the type and on the device of a weight."""

    def _share(self, numbers: Mapping[str, Tensor] | None) -> None:
        """Let sites have factors in common, or none where there are no numbers; factors whose number changes are new ones.

        Args:
            numbers: see :class:`~.unit_sharing.UnitSharing`.
        """
        layouts = self._own_layouts
        self._sharing = UnitSharing.of(layouts, numbers)
        self._layouts = dict(self._sharing.layouts)
        for name in self.site_names:
            site, theta = self.site(name), self.site(name).theta
            count = self._layouts[name].count if self._sharing.first[name] == name else None
            before = site._parameters.get("z_mu")
            if count is None or before is None or len(before) != count:
                for parameter in site._parameters.keys() & set(_UNITS):
                    delattr(site, parameter)
            if count is not None and (before is None or len(before) != count):
                for parameter, value in self.initial_units(name, count, theta.detach()).items():
                    setattr(site, parameter, nn.Parameter(value))
            site.number_units(None if numbers is None else numbers[name])

    def _take_layouts(self, whole: Self, left: Mapping[str, Tensor]) -> None:
        super()._take_layouts(whole, left)
        self._own_layouts = dict(self._layouts)
        before, numbers = whole._sharing.numbers, None
        if before is not None:
            by_input = {name: replace(layout, of_input=None, units=None) for name, layout in whole._own_layouts.items()}
            numbers = {name: self._numbers_left(whole, name, by_input[name], before[name], left[name]) for name in before}
        self._sharing = UnitSharing.of(self._own_layouts, numbers)
        if self._sharing.first != whole._sharing.first:
            raise InputError(
                "factors are shared by other sites once these units are removed", name="shrink", value=self._sharing.first
            )
        self._layouts = dict(self._sharing.layouts)

    def _numbers_left(self, whole: Self, name: str, layout: UnitLayout, numbers: Tensor, left: Tensor) -> Tensor:
        """Return the numbers of the inputs that are left, given the number of every unit of a layout of ``whole``."""
        shape = whole.site(name).theta.shape
        of_weights = layout.over_weight(numbers.to(left.device, torch.float64), shape).expand(shape).take(left)
        own = self._own_layouts[name]
        return (own if layout.of_input is not None else replace(own, of_input=None, units=None)).least(of_weights).long()

    def _places_left(self, whole: Self, name: str, parameter: str, left: Tensor) -> Tensor:
        if parameter not in _UNITS:
            return super()._places_left(whole, name, parameter, left)
        if whole._sharing.numbers is None:
            layout = whole.unit_layout(name)
            return self._numbers_left(whole, name, layout, torch.arange(layout.count), left)
        before, now = (guide._sharing.numbers_of(name) for guide in (whole, self))
        return torch.searchsorted(before, now).to(left.device)

    def sites_with_units_of(self, name: str) -> list[str]:
        return self._sharing.family(name)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load a state, with the shared factors that it has, for which the guide need not have been made with an example.

        Factors that the state shares in another way than the guide are new parameters: make an optimizer afterwards.
        """
        sharing, before = self._sharing, {name: dict(self.site(name)._parameters) for name in self.site_names}
        try:
            return super().load_state_dict(state_dict, strict=strict, assign=assign)
        except Exception:
            if self._sharing is not sharing:
                self._share(sharing.numbers)
                for name, parameters in before.items():
                    for parameter, value in parameters.items():
                        setattr(self.site(name), parameter, value)
            raise

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        numbers = self._numbers_in(state_dict, prefix)
        if self._is_whole(state_dict, prefix) and not self._sharing.has(numbers):
            self._share(numbers)
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def expected_state(self, own: Mapping[str, Tensor], given: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
        """Return the state, by name, that this guide has when it has loaded ``given``; new tensors in it are empty.

        Args:
            own: the state that it has now.
            given: another state.
            prefix: the start of the guide's names in both.
        """
        numbers = self._numbers_in(given, prefix)
        if self._sharing.has(numbers):
            return dict(own)
        layouts = self._own_layouts
        sharing = UnitSharing.of(layouts, numbers)
        changed = {f"{prefix}sites.{name}.{part}" for name in self.site_names for part in (*_UNITS, "units")}
        expected = {name: tensor for name, tensor in own.items() if name not in changed}
        for name, layout in sharing.layouts.items():
            theta = self.site(name).theta
            if sharing.first[name] == name:
                like = torch.empty(layout.count, dtype=theta.dtype, device="meta")
                expected |= {f"{prefix}sites.{name}.{part}": like for part in _UNITS}
            if numbers is not None:
                expected[f"{prefix}sites.{name}.units"] = torch.empty(layout.inputs, dtype=torch.int64, device="meta")
        return expected

    def _numbers_in(self, state: Mapping[str, Any], prefix: str) -> dict[str, Tensor] | None:
        """Return the numbers of shared factors in a state; None where it has none, or none that fit the sites."""
        numbers = {name: state.get(f"{prefix}sites.{name}.units") for name in self.site_names}
        shapes = {name: (self._own_layouts[name].inputs,) for name in self.site_names}
        fits = all(
            isinstance(each, Tensor) and each.dtype == torch.int64 and each.shape == shapes[name]
            for name, each in numbers.items()
        )
        return cast(dict[str, Tensor], numbers) if fits else None
