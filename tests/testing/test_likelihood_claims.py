"""The conformance class of likelihoods finds what is wrong: each here breaks one claim, and the test of that claim fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
from conformance_support import FAILED, given
from torch import Tensor

from pyro_vd.models import Normal
from pyro_vd.models.likelihoods import LIKELIHOODS
from pyro_vd.testing import LikelihoodConformance


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
