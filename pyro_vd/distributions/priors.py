"""Priors of weights as Pyro distributions; :mod:`pyro_vd.distributions.weight_posterior` registers their KLs."""

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
"""The KL(q‖p) of a log-uniform prior: Molchanov 2017, eq. 14, or without approximation."""


class WeightPrior(TorchDistribution):
    """Base class of priors of real weights whose only parameter is the shape."""

    support: constraints.Constraint = constraints.real
    arg_constraints: dict[str, constraints.Constraint] = {}
    _why = ""
    _stand_in: Callable[[], Tensor] | None = None

    def __init__(self, shape: torch.Size | tuple[int, ...] = ()) -> None:
        super().__init__(torch.Size(shape), validate_args=False)

    def standing_in(self, value: Callable[[], Tensor]) -> Self:
        """Return a copy of the prior whose samples are ``value()``, so that a model can run without a guide."""
        prior = copy.copy(self)
        prior._stand_in = value
        return prior

    def sample(self, sample_shape: torch.Size | tuple[int, ...] = ()) -> Tensor:
        if self._stand_in is None:
            raise InputError(
                f"{type(self).__name__} cannot be sampled: {self._why} Condition the model on a guide, as pyro.poutine.replay "
                "and VariationalDropoutELBO do",
                name=type(self).__name__,
            )
        return self._stand_in().expand(*sample_shape, *self.shape())

    rsample = sample


class LogUniform(WeightPrior):
    """Log-uniform prior of a weight, p(|w|) ∝ 1/|w|, with log|w| uniform on the real line.

    The prior of sparse variational dropout (Kingma 2015, arXiv 1506.02557, section 4; Molchanov 2017, arXiv 1701.05369,
    eq. 5). It is improper: its integral is infinite, so it has no samples, and its density is infinite at 0.

    Args:
        shape: the batch shape; ``.to_event()`` makes it one event.
        kl: the KL(q‖p) that :func:`torch.distributions.kl_divergence` computes for a
            :class:`~pyro_vd.distributions.MultiplicativeNormal` q: ``"approximate"`` (Molchanov 2017, eq. 14, with an error of
            at most 0.0094 nats per weight) or ``"exact"``.

    Raises:
        InputError: ``kl`` is neither of these; or :meth:`sample` is called.
    """

    _why = "p(|w|) ∝ 1/|w| is improper (its integral is infinite), so it has no samples."

    def __init__(self, shape: torch.Size | tuple[int, ...] = (), kl: KLForm = "approximate") -> None:
        _check_kl(kl)
        super().__init__(shape)
        self.kl = kl

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: None = None) -> LogUniform:
        prior = LogUniform(batch_shape, self.kl)
        prior._stand_in = self._stand_in
        return prior

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the unnormalised log density −log|w|, which is +∞ at w = 0."""
        return -value.abs().log().expand(torch.broadcast_shapes(value.shape, self.batch_shape))


class NormalARD(WeightPrior):
    """Automatic relevance determination, N(0, 1/τ) with one precision τ per weight, which is fitted by empirical Bayes.

    The optimal τ is 1/(θ² + σ²), so KL(q‖p) = ½ log(1 + 1/α) in closed form, and τ is not stored (Kharitonov 2018, arXiv
    1811.00596, eq. 8). Unlike the log-uniform prior, it is a proper prior for every τ. There is no density of w without q,
    because τ depends on q.

    Args:
        shape: the batch shape; ``.to_event()`` makes it one event.

    Raises:
        InputError: :meth:`sample` or :meth:`log_prob` is called.
    """

    _why = "its precision is fitted to the posterior, so without a posterior it has no samples."

    def expand(self, batch_shape: torch.Size | tuple[int, ...], _instance: None = None) -> NormalARD:
        prior = NormalARD(batch_shape)
        prior._stand_in = self._stand_in
        return prior

    def log_prob(self, value: Tensor) -> Tensor:
        if isinstance(value, ProvenanceTensor):  # pyro.infer.inspect uses only the dependencies, not the number
            return value * 0
        raise InputError(
            "NormalARD has no density without a posterior, because its precision is fitted to the posterior; use its KL",
            name="NormalARD",
        )


class NormalJeffreys(WeightPrior):
    """Prior of groups of weights, p(z) ∝ 1/|z| and w|z ~ N(0, z²), with one z per input unit for all its weights.

    Groups are the entries of the weight's dimension 1: input units of a linear layer, channels of a convolution (Louizos,
    Ullrich and Welling 2017, arXiv 1705.08665, section 4.1). Integrated over z, it is p(w) ∝ Π 1/‖w_g‖ⁿ for groups w_g of n
    weights. It is improper: it has no samples, and its density is infinite where a group is 0.

    Args:
        shape: the shape of the weight, at least two dimensions; one event.
        kl: the KL(q‖p) of z, ``"approximate"`` or ``"exact"``; see :class:`LogUniform`.

    Raises:
        InputError: ``kl`` or ``shape`` is not allowed; or :meth:`sample` is called.
    """

    _why = "p(z) ∝ 1/|z| is improper (its integral is infinite), so it has no samples."

    def __init__(self, shape: torch.Size | tuple[int, ...], kl: KLForm = "approximate") -> None:
        _check_kl(kl)
        if len(shape) < 2:
            raise InputError(name="shape", value=tuple(shape), allowed="of at least two dimensions, outputs and inputs")
        TorchDistribution.__init__(self, torch.Size(), torch.Size(shape), validate_args=False)
        self.kl = kl

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the unnormalised log density −Σ n log‖w_g‖ over the groups of a weight; +∞ if a group is 0."""
        groups = value.transpose(-len(self.event_shape), 1 - len(self.event_shape)).flatten(1 - len(self.event_shape))
        return -groups.shape[-1] * torch.linalg.vector_norm(groups, dim=-1).log().sum(-1)


def standing_in(prior: Any, value: Callable[[], Tensor]) -> Any:
    """Return a copy of a :class:`WeightPrior`, or of one inside ``to_event`` or ``mask``, whose samples are ``value()``.

    Any other prior is returned unchanged.
    """
    if isinstance(prior, WeightPrior):
        return prior.standing_in(value)
    if isinstance(prior, Independent | MaskedDistribution):
        base = standing_in(prior.base_dist, value)
        if base is not prior.base_dist:
            prior = copy.copy(prior)
            prior.base_dist = base
    return prior


def prior_of_some(name: str, prior: Any, shape: torch.Size) -> Any:
    """Return the prior of some of the weights of a site, which have this shape, as one event.

    Args:
        name: of the site, for the error.
        prior: of all weights of the site.
        shape: of the weights that are left.

    Raises:
        InputError: the prior is another than those of this module: it may differ between weights.
    """
    base = prior.base_dist if isinstance(prior, Independent) else prior
    if type(base) is NormalJeffreys:
        return NormalJeffreys(shape, base.kl)
    if type(base) in (LogUniform, NormalARD):
        return base.expand(shape).to_event(len(shape))
    raise InputError(
        f"shrink (=True) needs priors that are known to be the same for all weights of a site; that of {name!r} is a "
        f"{type(base).__name__}",
        name="shrink",
        value=True,
        allowed="False, or the priors LogUniform, NormalARD and NormalJeffreys",
    )


def _check_kl(kl: str) -> None:
    if not isinstance(kl, str) or kl not in ("approximate", "exact"):
        raise InputError(name="kl", value=kl, allowed="'approximate' or 'exact'")
