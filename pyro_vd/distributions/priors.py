"""Priors of one weight, as Pyro distributions; their KLs are registered in :mod:`pyro_vd.distributions.weight_posterior`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal, Self

import torch
from pyro.distributions import Independent, MaskedDistribution
from pyro.distributions.torch_distribution import TorchDistribution
from pyro.ops.provenance import ProvenanceTensor
from torch import Tensor
from torch.distributions import constraints

from pyro_vd._core.errors import InputError

KLForm = Literal["approximate", "exact"]


class WeightPrior(TorchDistribution):
    """A prior of a real weight that depends on nothing but its shape."""

    support: constraints.Constraint = constraints.real
    arg_constraints: dict[str, constraints.Constraint] = {}
    _why = ""
    _stand_in: Callable[[], Tensor] | None = None

    def __init__(self, shape: torch.Size | tuple[int, ...] = ()) -> None:
        super().__init__(torch.Size(shape), validate_args=False)

    def standing_in(self, value: Callable[[], Tensor]) -> Self:
        """The same prior with ``value()`` in place of its samples, which it has not: for a model that runs without a guide."""
        prior = copy.copy(self)
        prior._stand_in = value
        return prior

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        if self._stand_in is None:
            raise InputError(
                f"{type(self).__name__} cannot be sampled: {self._why} Condition the model on a guide, "
                f"as pyro.poutine.replay and VariationalDropoutELBO do."
            )
        return self._stand_in().expand(*sample_shape, *self.shape())

    rsample = sample


class LogUniform(WeightPrior):
    """Log-uniform prior of a weight, p(|w|) ∝ 1/|w|, that is log|w| uniform on the real line.

    The prior of sparse variational dropout (Kingma 2015, arXiv 1506.02557, section 4; Molchanov 2017, arXiv 1701.05369,
    eq. 5). It is improper: it integrates to infinity, so it has no samples, and its density is infinite at 0.

    Args:
        shape: the batch shape; ``.to_event()`` makes it one event.
        kl: which KL(q‖p) :func:`torch.distributions.kl_divergence` computes for a q that is a
            :class:`~pyro_vd.distributions.MultiplicativeNormal`: ``"approximate"`` (Molchanov 2017, eq. 14; off by at most
            0.0094 nats per weight) or ``"exact"``.

    Raises:
        InputError: ``kl`` is neither; or :meth:`sample` is called.
    """

    _why = "p(|w|) ∝ 1/|w| is improper, its integral is infinite, so it has no samples."

    def __init__(self, shape: torch.Size | tuple[int, ...] = (), kl: KLForm = "approximate") -> None:
        _check_kl(kl)
        super().__init__(shape)
        self.kl = kl

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: None = None) -> LogUniform:
        prior = LogUniform(batch_shape, self.kl)
        prior._stand_in = self._stand_in
        return prior

    def log_prob(self, value: Tensor) -> Tensor:
        """Unnormalised log density −log|w|; +∞ at w = 0."""
        return -value.abs().log().expand(torch.broadcast_shapes(value.shape, self.batch_shape))


class NormalARD(WeightPrior):
    """Automatic relevance determination: N(0, 1/τ) with the precision τ of each weight fitted by empirical Bayes.

    At the optimum 1/τ = θ² + σ², so KL(q‖p) = ½ log(1 + 1/α) in closed form and τ is never stored (Kharitonov 2018,
    arXiv 1811.00596, eq. 8). Unlike the log-uniform prior it is a proper prior for every τ; a density of w alone does
    not exist, because τ depends on q.

    Args:
        shape: the batch shape; ``.to_event()`` makes it one event.

    Raises:
        InputError: :meth:`sample` or :meth:`log_prob` is called.
    """

    _why = "its precision is fitted to the posterior, so there is nothing to sample before a posterior is given."

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: None = None) -> NormalARD:
        prior = NormalARD(batch_shape)
        prior._stand_in = self._stand_in
        return prior

    def log_prob(self, value: Tensor) -> Tensor:
        if isinstance(value, ProvenanceTensor):  # pyro.infer.inspect asks which sites it depends on, not for the number
            return value * 0
        raise InputError("NormalARD has no density of w alone: its precision is fitted to the posterior; use its KL.")


class NormalJeffreys(WeightPrior):
    """Prior of a layer's weight by groups, p(z) ∝ 1/|z| and w|z ~ N(0, z²): one z for all weights out of an input unit.

    Groups are the entries of the weight's dimension 1: input units of a linear layer, channels of a convolution (Louizos,
    Ullrich and Welling 2017, arXiv 1705.08665, section 4.1). Over z it integrates to p(w) ∝ Π 1/‖w_g‖ⁿ for groups w_g of n
    weights. It is improper: it has no samples, and its density is infinite where a group is 0.

    Args:
        shape: of the weight, at least two dimensions; one event.
        kl: the KL(q‖p) of z, as for :class:`LogUniform`.

    Raises:
        InputError: ``kl`` or ``shape`` out of range; or :meth:`sample` is called.
    """

    _why = "p(z) ∝ 1/|z| is improper, its integral is infinite, so it has no samples."

    def __init__(self, shape: torch.Size | tuple[int, ...], kl: KLForm = "approximate") -> None:
        _check_kl(kl)
        if len(shape) < 2:
            raise InputError(f"shape (={tuple(shape)}) must have at least two dimensions, outputs and inputs")
        TorchDistribution.__init__(self, torch.Size(), torch.Size(shape), validate_args=False)
        self.kl = kl

    def log_prob(self, value: Tensor) -> Tensor:
        """Unnormalised log density −Σ n log‖w_g‖ of a whole weight, over its groups; +∞ where one is 0."""
        groups = value.transpose(-len(self.event_shape), 1 - len(self.event_shape)).flatten(1 - len(self.event_shape))
        return -groups.shape[-1] * torch.linalg.vector_norm(groups, dim=-1).log().sum(-1)


def standing_in(prior: Any, value: Callable[[], Tensor]) -> Any:
    """A prior with ``value()`` in place of the samples that a :class:`WeightPrior` has not; any other as it is.

    It may be declared an event with ``to_event``, or masked.
    """
    if isinstance(prior, WeightPrior):
        return prior.standing_in(value)
    if isinstance(prior, Independent | MaskedDistribution):
        base = standing_in(prior.base_dist, value)
        if base is not prior.base_dist:
            prior = copy.copy(prior)
            prior.base_dist = base
    return prior


def _check_kl(kl: str) -> None:
    if not isinstance(kl, str) or kl not in ("approximate", "exact"):
        raise InputError(name="kl", value=kl, allowed="'approximate' or 'exact'")
