"""The conformance class of guides finds what is wrong: each here breaks one claim, and the test of that claim fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
from conformance_support import FAILED, Wide, given
from torch import Tensor

from pyro_vd import InputError
from pyro_vd.distributions import MultiplicativeNormal
from pyro_vd.guides import PointEstimate, VariationalDropout
from pyro_vd.models import BayesianNetwork
from pyro_vd.testing import GuideConformance


class Guide(VariationalDropout):
    """One that is right, for others to be wrong in one point."""

    def __init__(self, model: BayesianNetwork) -> None:
        super().__init__(model, log_sigma2=-3)


class OtherStart(Guide):
    def initial_parameters(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        return super().initial_parameters(name, weight + 0.01)


class OtherMean(Guide):
    def posterior(self, name: str) -> Any:
        q = super().posterior(name)
        return MultiplicativeNormal(q.theta + 0.02, q.log_sigma2)


class OtherOutputs(Guide):
    def posterior(self, name: str) -> Any:
        q = super().posterior(name)
        return Wide(q.theta, q.log_sigma2)


class OtherDraws(Guide):
    """What it draws is not its posterior."""

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        other = Guide(self.model)
        other.load_state_dict({name: value + 0.02 for name, value in self.state_dict().items()})
        return other(*args, **kwargs)


class Revived(Guide):
    """The mean is 0 where a weight was removed; the noise is still there."""

    def posterior(self, name: str) -> Any:
        return MultiplicativeNormal(self.mean(name), self.site(name).log_sigma2)


class Counting(Guide):
    """How often it has been drawn matters, and is not in its state."""

    drawn = 0

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        self.drawn += 1
        return super().forward(*args, **kwargs)

    def posterior(self, name: str) -> Any:
        q = super().posterior(name)
        return MultiplicativeNormal(q.theta, q.log_sigma2 + 0.01 * self.drawn)


class Registered(Guide):
    def __init__(self, model: BayesianNetwork) -> None:
        super().__init__(model)
        del self.__dict__["model"]
        self.add_module("model", model)


class Sharing(Guide):
    """A copy has the same model."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Sharing:
        copied = Sharing(self.model)
        copied.load_state_dict(self.state_dict())
        return copied


class Frozen(Guide):
    def posterior(self, name: str) -> Any:
        q = super().posterior(name)
        return MultiplicativeNormal(q.theta, q.log_sigma2.detach())


class Backwards(Guide):
    def __init__(self, model: BayesianNetwork) -> None:
        super().__init__(model)
        self.site_names = self.site_names[::-1]


class InFloat32(Guide):
    def posterior(self, name: str) -> Any:
        q = super().posterior(name)
        return MultiplicativeNormal(q.theta.float(), q.log_sigma2.float())


class NoAlpha(PointEstimate):
    learns_alpha = True


class Unregistered(Guide):
    def posterior(self, name: str) -> Any:
        q = super().posterior(name)
        return dist.Normal(q.theta, q.variance.sqrt())


GUIDES: dict[str, tuple[Callable[[BayesianNetwork], Any], str]] = {
    "sites": (Backwards, "test_it_draws_each_weight_once_under_its_name"),
    "start": (OtherStart, "test_it_starts_at_the_networks_weights"),
    "mean": (OtherMean, "test_its_mean_is_that_of_its_draws"),
    "outputs": (OtherOutputs, "test_outputs_drawn_locally_are_distributed_as_under_drawn_weights"),
    "predictions": (OtherDraws, "test_predictions_are_means_over_drawn_weights"),
    "log alpha": (NoAlpha, "test_log_alpha_says_what_is_pruned"),
    "model": (Registered, "test_the_model_is_no_part_of_it"),
    "resumed": (Counting, "test_it_goes_on_bit_for_bit"),
    "state": (Counting, "test_its_state_is_all_that_it_is"),
    "copy": (Sharing, "test_a_copy_has_a_model_of_its_own"),
    "removed": (Revived, "test_removed_weights_stay_removed"),
    "moved": (InFloat32, "test_it_moves_with_its_model"),
    "frozen": (Frozen, "test_training_moves_every_parameter_and_lowers_the_data_term"),
    "kl": (Unregistered, "test_it_is_a_guide_of_pyros"),
    "threshold": (type("Unlearning", (Guide,), {"learns_alpha": False, "check_train_threshold": lambda self, value: value}),
                  "test_a_threshold_of_training_needs_an_alpha_that_is_learnt"),
}  # fmt: skip


class ConformanceOfGuide(GuideConformance):
    def __init__(self, kind: Callable[[BayesianNetwork], Any]) -> None:
        self.make = kind  # type: ignore[method-assign]

    def make(self, model: BayesianNetwork) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(("kind", "test"), GUIDES.values(), ids=GUIDES)
def test_guides(kind: Callable[[BayesianNetwork], Any], test: str, tmp_path: Path) -> None:
    with pytest.raises((*FAILED, InputError)):
        getattr(ConformanceOfGuide(kind), test)(*given(test, tmp_path))
    pyro.clear_param_store()
    getattr(ConformanceOfGuide(Guide), test)(*given(test, tmp_path / "right"))
