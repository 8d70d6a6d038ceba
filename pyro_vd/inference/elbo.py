"""The objective: a custom ELBO with an analytic KL and local reparameterization."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from types import MappingProxyType
from typing import Any

import pyro.poutine as poutine
import torch
from pyro.infer.elbo import ELBO
from torch import Tensor, nn

import pyro_vd._core.groups  # noqa: F401  a group that is made after this import can end
from pyro_vd._core.arguments import HIGHEST_KL_WEIGHT, LARGEST, check_number
from pyro_vd._core.eager import uncompiled
from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generators_kept
from pyro_vd._core.patterns import by_pattern
from pyro_vd._core.threads import alone
from pyro_vd.distributions.closed_form import ClosedForm
from pyro_vd.inference.handlers import check_stored, check_trained, own_parameters, trace_of
from pyro_vd.inference.kl_weights import check_kl_weights
from pyro_vd.inference.known_sites import known_sites
from pyro_vd.inference.output_noise import OutputNoise, check_output_noise
from pyro_vd.inference.reparam import LocalReparameterization
from pyro_vd.inference.site_checks import PairSites, check_sites, sample_sites, to_replay
from pyro_vd.inference.site_terms import auxiliary_terms, log_likelihood, site_kl
from pyro_vd.inference.vanishing_gradients import without_denormals
from pyro_vd.networks.modes import in_evaluation_mode

PyroFunction = Callable[..., Any]
"""A model or a guide: any callable with sample statements."""
Terms = tuple[Tensor, list[dict[str, Tensor]]]
"""The data term, and the KL by site of each particle."""
_LATER = torch.zeros(())
"""In place of a KL that is computed after the backward pass of the data."""


class VariationalDropoutELBO(ELBO):
    r"""Negative ELBO of sparse variational dropout, −Σ log p(y|x, w) + β·KL(q‖p) (Molchanov 2017, arXiv 1701.05369, eq. 3).

    The data term is the log likelihood of the observed sites, scaled as in the model: a model that multiplies the log
    likelihood of B out of N examples by N/B gives an unbiased estimate of the sum over all N. Guide sites with a posterior of
    this library, such as :class:`~pyro_vd.distributions.MultiplicativeNormal`, are locally reparameterized. Every guide site
    must have a reparameterized sampler.

    KL(q‖p) of a weight site is the function registered with torch; a weight site without one is refused. KL(q‖p) of any other
    latent site is the registered function too, if there is one and the guide draws the sites that the prior depends on before
    this site; otherwise it is the one-sample Monte Carlo estimate log q − log p. Auxiliary sites of the guide
    (``infer={"is_auxiliary": True}``, as in Pyro's autoguides) add log q.

    The scale and the mask of a latent site in the model apply to its whole KL(q‖p); the guide's site has the same ones or none.
    The scale and the mask of any site must be a number or broadcast to its batch shape, so that no term counts more than once.

    Works with ``pyro.infer.SVI(model, guide, optim, loss=VariationalDropoutELBO())``; and as ``elbo(model, guide)``, an
    ``nn.Module`` whose call returns the loss, with any ``torch.optim`` optimizer. Losses are in nats.

    Args:
        kl_weight: β in [0, 10¹²]; the attribute may be set at any time.
        num_particles: number of draws of the noise per step, ≥ 1, over which the loss is averaged.
        noise: "position" or "example"; see :class:`~pyro_vd.inference.reparam.LocalReparameterization`.
        kl_weights: factors in [0, 10¹²] on β of single sites, by name or pattern, of which the first that matches a site
            counts: ``{"embedding.*": 0.1}``. Sites without one have the factor 1.

    Attributes:
        data_term: −Σ log p(y|x, w) at the last step, a detached scalar tensor.
        kl: KL(q‖p) at the last step, with ``kl_weights`` but not multiplied by β, a detached scalar tensor.
        site_kl: KL(q‖p) per site for the last particle, without any weights. An auxiliary site has its log q, and the site that
            is computed from the auxiliary site has the rest of KL(q‖p).
        closed_form: the sites whose gradient of the KL was added in closed form at the last step of :meth:`backward` or of SVI.

    Raises:
        InputError: an argument is out of range. At a step: a pattern in ``kl_weights`` that matches no site, a weight site
            without a registered KL, a latent site that only the model or only the guide has, a guide site that cannot be
            reparameterized, or a scale or mask that does not fit.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO
        >>> guide = VariationalDropout(model := BayesianNetwork(nn.Linear(4, 3), num_data=100))
        >>> elbo = VariationalDropoutELBO(kl_weight=0.5)
        >>> loss = elbo.backward(model, guide, torch.randn(10, 4), torch.arange(10) % 3)
        >>> guide.site("weight").theta.grad.shape
        torch.Size([3, 4])
    """

    def __init__(
        self,
        kl_weight: float = 1.0,
        num_particles: int = 1,
        noise: OutputNoise = "position",
        kl_weights: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        num_particles = check_number("num_particles", num_particles, low=1, high=LARGEST, whole=True)
        super().__init__(num_particles=num_particles)
        self.kl_weight = kl_weight
        check_output_noise("noise", noise)
        self.noise = noise
        self.kl_weights: dict[str, float] = check_kl_weights(kl_weights)
        self.data_term: Tensor = torch.tensor(math.nan)
        self.kl: Tensor = torch.tensor(math.nan)
        self.site_kl: dict[str, Tensor] = {}
        self.closed_form: frozenset[str] = frozenset()

    @property
    def kl_weight(self) -> float:
        return self._kl_weight

    @kl_weight.setter
    def kl_weight(self, value: float) -> None:
        self._kl_weight = float(check_number("kl_weight", value, low=0, high=HIGHEST_KL_WEIGHT))

    def _get_trace(
        self, model: PyroFunction, guide: PyroFunction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[poutine.Trace, poutine.Trace]:
        guide_trace = trace_of(LocalReparameterization(self.noise)(guide), *args, **kwargs)
        model_trace = trace_of(poutine.replay(model, trace=to_replay(guide_trace)), *args, **kwargs)
        return model_trace, guide_trace

    def _sites(
        self,
        model: PyroFunction,
        guide: PyroFunction,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        closed: dict[str, ClosedForm] | None,
    ) -> Iterator[PairSites]:
        """Yield the sites of each particle."""
        for _ in range(self.num_particles):
            sites = known_sites(model, guide, args, kwargs, self.noise, closed)
            if sites is None:
                sites = PairSites(*map(sample_sites, self._get_trace(model, guide, args, kwargs)))
            check_sites(sites)
            yield sites

    def try_out(self, model: nn.Module, guide: nn.Module, *args: Any) -> None:
        """Evaluate the loss once, in evaluation mode: sites that do not fit are refused, autoguides create their parameters.

        The state of torch's random generators is restored. ``args`` are the arguments of the model and of the guide.

        Raises:
            InputError: see the class; or a ``pyro.param`` is not a parameter of either module, so no optimizer would train it.
        """
        device = next((tensor.device for tensor in (*model.buffers(), *model.parameters())), torch.device("cpu"))
        with generators_kept(device), in_evaluation_mode(model), own_parameters():
            self.loss(model, guide, *args)
            check_trained(model, guide)

    @uncompiled
    def differentiable_loss(self, model: PyroFunction, guide: PyroFunction, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss in nats, a scalar tensor with a gradient; ``args`` are the arguments of model and guide."""
        data_term, kl = self._terms(model, guide, args, kwargs)
        return self._loss(data_term, kl)

    def backward(self, model: PyroFunction, guide: PyroFunction, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss in nats without a gradient, and add its gradients to those of the parameters.

        Both are those of ``elbo(model, guide)(*args)`` and its ``backward()``, at less cost: the gradient of the KL is added in
        closed form where :class:`~pyro_vd.distributions.closed_form.ClosedForm` knows it.

        Raises:
            InputError: see the class; or gradients are disabled, as by ``torch.no_grad()``.
        """
        return self.scaled_backward(1.0, model, guide, *args, **kwargs)

    @uncompiled
    def scaled_backward(self, factor: float, model: PyroFunction, guide: PyroFunction, *args: Any, **kwargs: Any) -> Tensor:
        """Return the loss as :meth:`backward` does, and add its gradients, multiplied by ``factor``."""
        _check_gradients("backward")
        closed: dict[str, ClosedForm] = {}
        return self._backward(model, self._terms(model, guide, args, kwargs, closed), closed, factor)

    def _backward(self, model: PyroFunction, terms: Terms, closed: dict[str, ClosedForm], factor: float = 1.0) -> Tensor:
        data_term, particles = terms
        self.closed_form = frozenset(closed)
        if not closed:
            loss = self._loss(data_term, particles)
            _add_gradients(model, loss, factor)
            return loss.detach()
        (kl,) = particles  # one particle
        weights = by_pattern("kl_weights", self.kl_weights, list(kl))
        others = {name: term for name, term in kl.items() if name not in closed}
        partial = self._loss(data_term, [others], weights) if others else data_term
        _add_gradients(model, partial, factor)
        with torch.no_grad():
            for name, each in closed.items():
                kl[name] = each.finish(factor * self.kl_weight * weights.get(name, 1.0))
            return self._loss(data_term.detach(), [kl], weights)

    def _terms(
        self,
        model: PyroFunction,
        guide: PyroFunction,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        closed: dict[str, ClosedForm] | None = None,
    ) -> Terms:
        """Return the data term and, for each particle, the KL by site, in place of which ``closed`` sites have a 0."""
        log_probs: list[Tensor] = []
        particles = []
        with alone():
            for sites in self._sites(model, guide, args, kwargs, closed if self.num_particles == 1 else None):
                kl = dict.fromkeys(closed or (), _LATER) | auxiliary_terms(sites)
                for name, site in sites.model.items():
                    if site["is_observed"]:
                        log_probs.append(log_likelihood(name, site))
                    else:
                        kl[name] = site_kl(name, sites)
                particles.append(kl)
        return -self._mean(log_probs), particles

    def _loss(self, data_term: Tensor, particles: list[dict[str, Tensor]], factors: dict[str, float] | None = None) -> Tensor:
        """Return the loss, and set the attributes of the last step; ``factors`` are :attr:`kl_weights` by site."""
        self.site_kl = {name: term.detach() for name, term in particles[-1].items()}
        total = self.weighted_kl(particles, factors)
        self.data_term, self.kl = data_term.detach(), total.detach()
        return torch.add(data_term, total, alpha=self.kl_weight)

    def weighted_kl(self, particles: list[dict[str, Tensor]], factors: dict[str, float] | None = None) -> Tensor:
        """Return the mean over the particles of the sum of the KL by site, with :attr:`kl_weights`, or factors by site."""
        divergences: list[Tensor] = []
        for kl in particles:
            own = by_pattern("kl_weights", self.kl_weights, list(kl)) if factors is None else factors
            divergences += (term * own[name] if name in own else term for name, term in kl.items())
        return self._mean(divergences)

    def _mean(self, terms: list[Tensor]) -> Tensor:
        """Return the sum of the terms of all particles, divided by the number of particles."""
        total = reduce(operator.add, terms) if terms else torch.zeros(())
        return total if self.num_particles == 1 else total / self.num_particles

    def loss(self, model: PyroFunction, guide: PyroFunction, *args: Any, **kwargs: Any) -> float:
        """Return the loss in nats as a number, without a gradient."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: PyroFunction, guide: PyroFunction, *args: Any, **kwargs: Any) -> float:
        """Return the loss in nats, and add its gradients to those of the parameters; ``SVI.step`` calls this.

        Raises:
            InputError: see :meth:`backward`.
        """
        _check_gradients("SVI.step")
        closed: dict[str, ClosedForm] = {}
        with poutine.trace(param_only=True) as parameters:
            terms = self._terms(model, guide, args, kwargs, closed)
        check_stored(parameters.trace, model, guide)
        return self._backward(model, terms, closed).item()


def _add_gradients(model: PyroFunction, loss: Tensor, factor: float) -> None:
    if loss.requires_grad:
        without_denormals(model, loss, (loss if factor == 1 else factor * loss).backward)


def _check_gradients(what: str) -> None:
    """Refuse to compute gradients where torch records none, as they would silently be missing."""
    if not torch.is_grad_enabled():
        raise InputError(
            f"{what} is called where gradients are disabled, by torch.no_grad() or torch.inference_mode(); call it outside, or "
            "loss(model, guide, …) for the loss alone",
            name=what,
            value=False,
            allowed="called with gradients enabled",
        )
