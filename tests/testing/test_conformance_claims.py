"""The conformance classes find what is wrong: each family here breaks one claim, and the test of that claim fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.distributions import register_kl

from pyro_vd import InputError
from pyro_vd.distributions import LogUniform, MultiplicativeNormal, NormalJeffreys
from pyro_vd.distributions.kl import kl_exact
from pyro_vd.evaluation.score import Score
from pyro_vd.guides import PointEstimate, VariationalDropout
from pyro_vd.models import BayesianNetwork, Normal
from pyro_vd.models.likelihoods import LIKELIHOODS
from pyro_vd.testing import GuideConformance, LikelihoodConformance, PosteriorConformance

FAILED = (AssertionError, pytest.fail.Exception)


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


class Wide(MultiplicativeNormal):
    """The variance, of which outputs are drawn, is not that of the draws."""

    @property
    def variance(self) -> Tensor:
        return 1.1 * super().variance


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


def given(test: str, tmp_path: Path) -> list[Any]:
    """What pytest would give the test."""
    tmp_path.mkdir(exist_ok=True)
    return {"test_it_goes_on_bit_for_bit": [tmp_path], "test_a_checkpoint_holds_it": [tmp_path]}.get(
        test, ["cpu"] if test == "test_it_moves_with_its_model" else []
    )


@pytest.mark.parametrize(("kind", "test"), GUIDES.values(), ids=GUIDES)
def test_guides(kind: Callable[[BayesianNetwork], Any], test: str, tmp_path: Path) -> None:
    with pytest.raises((*FAILED, InputError)):
        getattr(ConformanceOfGuide(kind), test)(*given(test, tmp_path))
    pyro.clear_param_store()
    getattr(ConformanceOfGuide(Guide), test)(*given(test, tmp_path / "right"))


class Right(MultiplicativeNormal):
    pass


class HalfPrecision(Right):
    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return super().rsample(sample_shape).float()


class WideDraws(Right):
    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.theta + 1.05 * (super().rsample(sample_shape) - self.theta)


class NoGradient(Right):
    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.theta + (super().rsample(sample_shape) - self.theta).detach()


class OtherDensity(Right):
    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) + 0.01


class Negative(Right):
    pass


class Twice(Right):
    pass


class Infinite(Right):
    pass


class WideOutputs(Right, Wide):
    pass


@register_kl(Right, LogUniform)
def _right(q: Right, p: LogUniform) -> Tensor:
    return kl_exact(q.theta, q.log_sigma2)


@register_kl(Negative, LogUniform)
def _negative(q: Negative, p: LogUniform) -> Tensor:
    return kl_exact(q.theta, q.log_sigma2) - 3


@register_kl(Twice, LogUniform)
def _twice(q: Twice, p: LogUniform) -> Tensor:
    return 2 * kl_exact(q.theta, q.log_sigma2)


@register_kl(Infinite, LogUniform)
def _infinite(q: Infinite, p: LogUniform) -> Tensor:
    return 0.5 * torch.log1p(q.theta.square() / q.variance)


POSTERIORS: dict[str, tuple[type[Right], str]] = {
    "shapes": (HalfPrecision, "test_shapes"),
    "moments": (WideDraws, "test_moments_are_those_of_the_draws"),
    "gradients": (NoGradient, "test_draws_are_reparameterized"),
    "density": (OtherDensity, "test_log_prob_is_the_density_of_the_draws"),
    "negative KL": (Negative, "test_the_kl_is_registered_and_not_negative"),
    "another KL": (Twice, "test_the_kl_is_that_of_the_draws"),
    "extremes": (Infinite, "test_numbers_and_gradients_are_finite_at_the_extremes"),
    "outputs": (WideOutputs, "test_outputs_drawn_locally_are_distributed_as_under_drawn_weights"),
}


class ConformanceOfPosterior(PosteriorConformance):
    extremes = {"theta": (0.0, 1.0), "log_sigma2": (-120.0, 0.0)}

    def __init__(self, kind: type[Right]) -> None:
        self.kind = kind

    def parameters(self) -> dict[str, Tensor]:
        return {"theta": torch.randn(4, 3), "log_sigma2": torch.randn(4, 3) - 1}

    def make(self, **parameters: Tensor) -> Any:
        return self.kind(**parameters)

    def prior(self) -> Any:
        return LogUniform((4, 3))


@pytest.mark.parametrize(("kind", "test"), POSTERIORS.values(), ids=POSTERIORS)
def test_posteriors(kind: type[Right], test: str) -> None:
    with pytest.raises(FAILED):
        getattr(ConformanceOfPosterior(kind), test)()
    getattr(ConformanceOfPosterior(Right), test)()


def test_a_kl_that_is_not_registered_is_found() -> None:
    class OtherPrior(ConformanceOfPosterior):
        def prior(self) -> Any:
            return NormalJeffreys((4, 3))

    with pytest.raises(NotImplementedError):
        OtherPrior(Right).test_the_kl_is_registered_and_not_negative()


class RightLikelihood(Normal):
    """A scale that is learnt and written to a file."""

    def __init__(self, scale: float = 0.5) -> None:
        super().__init__(initial_scale=scale)


class Column(RightLikelihood):
    def forward(self, output: Tensor) -> Any:
        return dist.Normal(output, self.log_scale.exp())


class ShiftedDraws(dist.Normal):
    def sample(self, sample_shape: Any = ()) -> Tensor:
        return super().sample(sample_shape) + 0.05


class Shifted(RightLikelihood):
    def forward(self, output: Tensor) -> Any:
        return ShiftedDraws(output[:, 0], self.log_scale.exp())


class HigherIsBetter(RightLikelihood):
    def score(self, output: Tensor, y: Tensor) -> Score:
        return Score("distance", (output[:, 0] - y).abs().mean().item(), lower_is_better=False)


class OtherOptions(RightLikelihood):
    @property
    def options(self) -> dict[str, float]:
        return {"scale": 2 * self.scale}


class Unused(RightLikelihood):
    def forward(self, output: Tensor) -> Any:
        return dist.Normal(output[:, 0], self.log_scale.detach().exp())


class CountingLikelihood(RightLikelihood):
    calls = 0

    def forward(self, output: Tensor) -> Any:
        self.calls += 1
        return dist.Normal(output[:, 0] + 0.01 * self.calls, self.log_scale.exp())


class LikelihoodInFloat32(RightLikelihood):
    def forward(self, output: Tensor) -> Any:
        return super().forward(output.float())


LIKELIHOOD_KINDS: dict[str, tuple[type[RightLikelihood], str]] = {
    "shape": (Column, "test_one_distribution_per_example"),
    "density": (Shifted, "test_its_density_is_that_of_its_samples"),
    "mean": (Shifted, "test_its_expectation_is_the_mean_of_its_samples"),
    "score": (HigherIsBetter, "test_a_right_output_scores_better"),
    "file": (OtherOptions, "test_a_file_describes_it"),
    "unused": (Unused, "test_a_model_learns_with_it"),
    "predictions": (CountingLikelihood, "test_predictions_have_its_expectation"),
    "checkpoint": (CountingLikelihood, "test_a_checkpoint_holds_it"),
    "moved": (LikelihoodInFloat32, "test_it_goes_where_the_model_goes"),
}


class ConformanceOfLikelihood(LikelihoodConformance):
    def __init__(self, kind: type[RightLikelihood]) -> None:
        self.kind = kind

    def make(self) -> Any:
        return self.kind()


@pytest.mark.parametrize(("kind", "test"), LIKELIHOOD_KINDS.values(), ids=LIKELIHOOD_KINDS)
def test_likelihoods(kind: type[RightLikelihood], test: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LIKELIHOODS, "wrong", kind)
    monkeypatch.setitem(LIKELIHOODS, "right", RightLikelihood)
    with pytest.raises(FAILED):
        getattr(ConformanceOfLikelihood(kind), test)(*given(test, tmp_path))
    getattr(ConformanceOfLikelihood(RightLikelihood), test)(*given(test, tmp_path / "right"))


def test_observations_that_are_not_refused_are_found() -> None:
    class Wrong(ConformanceOfLikelihood):
        wrong = (-1.0,)

    with pytest.raises(FAILED):
        Wrong(RightLikelihood).test_observations_are_checked()
    ConformanceOfLikelihood(RightLikelihood).test_observations_are_checked()
