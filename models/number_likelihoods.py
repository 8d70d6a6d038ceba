"""Likelihoods of numbers: normal with one scale or a predicted one, Student's t, and mixtures of normals."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vd._core.arguments import LARGEST, check_number
from pyro_vd._core.errors import InputError
from pyro_vd.models.learnt_number import keep_logarithm
from pyro_vd.models.likelihood import one_per_example, without_column


class Normal(nn.Module):
    """Numbers with Gaussian noise, y ~ N(output, scale²).

    Output and observations have the shape ``(batch,)``, or ``(batch, …)`` for several numbers per example. An output
    ``(batch, 1)`` belongs to observations ``(batch,)``. The noise is independent and has one scale for all numbers.

    Args:
        scale: standard deviation of the noise, in the units of the observations. None learns it with the network, by maximum
            likelihood; the parameter ``log_scale`` is its logarithm.
        initial_scale: the start of a learnt scale. 1 suits standardized observations; otherwise give their standard deviation.

    Raises:
        InputError: ``scale`` or ``initial_scale`` is not a finite number above 0.
    """

    log_scale: Tensor

    def __init__(self, scale: float | None = None, initial_scale: float = 1.0) -> None:
        super().__init__()
        keep_logarithm(self, "scale", scale, initial_scale)

    @property
    def scale(self) -> float:
        """The standard deviation of the noise, in the units of the observations."""
        return self.log_scale.exp().item()

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments that a file keeps; see :func:`~pyro_vd.models.likelihood_files.describe`."""
        return {"scale": self.scale}

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        mean = without_column(output)
        return one_per_example(dist.Normal(mean, self.log_scale.exp(), validate_args=False))

    def extra_repr(self) -> str:
        return f"scale={self.scale:.4g}{', learnt' if isinstance(self.log_scale, nn.Parameter) else ''}"


class HeteroscedasticNormal:
    """Numbers with Gaussian noise whose scale the network predicts: the output holds means, and then logarithms of the scales.

    Observations ``(n,)`` take an output ``(n, 2)``, and observations ``(n, …, d)`` an output ``(n, …, 2 d)``: the first half of
    its last dimension are the means, the second half the logarithms of the standard deviations.
    """

    def __call__(self, output: Tensor) -> dist.TorchDistribution:
        mean, log_scale = _parts(output, 2, "means and logarithms of scales")
        return one_per_example(dist.Normal(without_column(mean), without_column(log_scale).exp(), validate_args=False))


class StudentT(nn.Module):
    """Numbers with noise that has heavy tails, so that outliers count less: y ~ output + scale · t(df).

    Output and observations have the shapes of :class:`Normal`.

    Args:
        df: degrees of freedom, above 2, so that the variance exists. None learns them with the network; the parameter
            ``log_excess`` is log(df − 2).
        scale: scale of the noise, in the units of the observations; its standard deviation is scale · √(df / (df − 2)). None
            learns it with the network; the parameter ``log_scale`` is its logarithm.
        initial_df: the start of learnt degrees of freedom.
        initial_scale: the start of a learnt scale.

    Raises:
        InputError: an argument is not a finite number in its range.
    """

    log_scale: Tensor
    log_excess: Tensor

    def __init__(
        self,
        df: float | None = None,
        scale: float | None = None,
        initial_df: float = 5.0,
        initial_scale: float = 1.0,
    ) -> None:
        super().__init__()
        keep_logarithm(self, "scale", scale, initial_scale)
        known = None if df is None else check_number("df", df, low=2, low_open=True) - 2
        start = check_number("initial_df", initial_df, low=2, low_open=True) - 2
        keep_logarithm(self, "excess", known, start)

    @property
    def scale(self) -> float:
        """The scale of the noise, in the units of the observations."""
        return self.log_scale.exp().item()

    @property
    def df(self) -> float:
        """The degrees of freedom."""
        return 2 + self.log_excess.exp().item()

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments that a file keeps; see :func:`~pyro_vd.models.likelihood_files.describe`."""
        return {"df": self.df, "scale": self.scale}

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        df, scale = 2 + self.log_excess.exp(), self.log_scale.exp()
        return one_per_example(dist.StudentT(df, without_column(output), scale, validate_args=False))

    def extra_repr(self) -> str:
        return f"df={self.df:.4g}, scale={self.scale:.4g}"


class MixtureOfNormals:
    """Numbers from a mixture of normal distributions that the network predicts, a mixture density network (Bishop 1994).

    Observations ``(n,)`` take an output ``(n, 3 k)``, and observations ``(n, …)`` an output ``(n, …, 3 k)``, for k components:
    the logits of their weights, their means, and the logarithms of their standard deviations.

    Args:
        components: k, the number of components, at least 1.

    Raises:
        InputError: ``components`` is not an integer of at least 1.
    """

    def __init__(self, components: int) -> None:
        self.components: int = check_number("components", components, low=1, high=LARGEST, whole=True)

    @property
    def options(self) -> dict[str, Any]:
        """The constructor's arguments that a file keeps; see :func:`~pyro_vd.models.likelihood_files.describe`."""
        return {"components": self.components}

    def __call__(self, output: Tensor) -> dist.TorchDistribution:
        if output.shape[-1] != 3 * self.components:
            allowed = f"a last dimension of 3 · {self.components} = {3 * self.components} numbers"
            raise InputError(name="the output's shape", value=tuple(output.shape), allowed=allowed)
        logits, mean, log_scale = _parts(output, 3, "logits, means and logarithms of scales")
        normals = dist.Normal(mean, log_scale.exp(), validate_args=False)
        weights = dist.Categorical(logits=logits, validate_args=False)
        return one_per_example(dist.MixtureSameFamily(weights, normals, validate_args=False))

    def __repr__(self) -> str:
        return f"MixtureOfNormals({self.components})"


def _parts(output: Tensor, number: int, what: str) -> tuple[Tensor, ...]:
    if output.ndim < 2 or output.shape[-1] % number:
        allowed = f"(n, …, {number} d): {what}"
        raise InputError(name="the output's shape", value=tuple(output.shape), allowed=allowed)
    return output.chunk(number, -1)
