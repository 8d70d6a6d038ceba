"""The objective: a custom ELBO with an analytic KL and local reparameterization."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import pyro
import pyro.poutine as poutine
import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer.elbo import ELBO
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.distributions import kl_divergence

from pyro_vd.arguments import HIGHEST_KL_WEIGHT, LARGEST, check_number
from pyro_vd.distributions import WeightPosterior
from pyro_vd.eager import uncompiled
from pyro_vd.errors import InputError
from pyro_vd.observations import base_distribution
from pyro_vd.output_noise import OutputNoise, check_output_noise
from pyro_vd.priors import WeightPrior
from pyro_vd.reparam import LocalReparameterization
from pyro_vd.unit_posterior import UnitPosterior

PyroFunction = Callable[..., Any]
"""A model or a guide: any callable with sample statements."""


class VariationalDropoutELBO(ELBO):
    r"""Negative ELBO of sparse variational dropout, −Σ log p(y|x, w) + β·KL(q‖p) (Molchanov 2017, arXiv 1701.05369, eq. 3).

    The data term is the log likelihood of the observed sites as the model scales them, so that a model that multiplies a
    batch of B of N by N/B gets an unbiased estimate of the sum over all N. Guide sites with a
    :class:`~pyro_vd.distributions.MultiplicativeNormal` are locally reparameterized. KL(q‖p) of a weight site is the one
    registered with torch, or an error; of any other latent site the registered one where there is one, and otherwise a
    one-sample Monte Carlo estimate log q − log p, which needs a reparameterized guide site.

    Works with ``pyro.infer.SVI(model, guide, optim, loss=VariationalDropoutELBO())`` and as ``elbo(model, guide)``, an
    ``nn.Module`` whose call gives the loss, for any ``torch.optim`` optimizer. Losses are in nats.

    Args:
        kl_weight: β in [0, 10¹²], which may be set at any time.
        num_particles: draws of the noise a step, ≥ 1, averaged.
        hold, noise: see :class:`~pyro_vd.reparam.LocalReparameterization`.

    Attributes:
        data_term: −Σ log p(y|x, w) at the last step, a detached scalar on its device.
        kl: KL(q‖p) at the last step, not weighted, likewise.
        site_kl: the same, site by site, of the last particle.

    Raises:
        InputError: an argument out of range; a weight site without a registered KL, a latent site that only one of model
            and guide has, a guide site that cannot be reparameterized.
    """

    def __init__(
        self, kl_weight: float = 1.0, num_particles: int = 1, hold: float | None = None, noise: OutputNoise = "position"
    ) -> None:
        num_particles = check_number("num_particles", num_particles, low=1, high=LARGEST, whole=True)
        super().__init__(num_particles=num_particles)
        self.kl_weight = kl_weight
        check_output_noise("noise", noise)
        self.hold, self.noise = None if hold is None else check_number("hold", hold, low=-100, high=100), noise
        self.data_term: Tensor = torch.tensor(math.nan)
        self.kl: Tensor = torch.tensor(math.nan)
        self.site_kl: dict[str, Tensor] = {}

    @property
    def kl_weight(self) -> float:
        return self._kl_weight

    @kl_weight.setter
    def kl_weight(self, value: float) -> None:
        self._kl_weight = float(check_number("kl_weight", value, low=0, high=HIGHEST_KL_WEIGHT))

    def _get_trace(
        self, model: PyroFunction, guide: PyroFunction, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[poutine.Trace, poutine.Trace]:
        guide_trace = poutine.trace(LocalReparameterization(self.hold, self.noise)(guide)).get_trace(*args, **kwargs)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
        return model_trace, guide_trace

    @uncompiled
    def differentiable_loss(self, model: PyroFunction, guide: PyroFunction, *args: Any, **kwargs: Any) -> Tensor:
        """The loss as a scalar tensor to call ``backward()`` on; ``args`` go to model and guide."""
        log_probs: list[Tensor] = []
        divergences: list[Tensor] = []
        for model_trace, guide_trace in self._get_traces(model, guide, args, kwargs):
            _check_sites(model_trace, guide_trace)
            for name, site in model_trace.nodes.items():
                if site["type"] != "sample" or site_is_subsample(site):
                    continue
                if site["is_observed"]:
                    log_probs.append(_log_prob(name, site))
                else:
                    divergences.append(_site_kl(name, guide_trace.nodes[name], site))
                    self.site_kl[name] = divergences[-1].detach()
        data_term, kl = -self._mean(log_probs), self._mean(divergences)
        self.data_term, self.kl = data_term.detach(), kl.detach()
        return torch.add(data_term, kl, alpha=self.kl_weight)

    def _mean(self, terms: list[Tensor]) -> Tensor:
        """Of the particles: the sum of their terms by the number of particles."""
        total = reduce(operator.add, terms) if terms else torch.zeros(())
        return total if self.num_particles == 1 else total / self.num_particles

    def loss(self, model: PyroFunction, guide: PyroFunction, *args: Any, **kwargs: Any) -> float:
        """The loss as a number, in nats, without a gradient."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model: PyroFunction, guide: PyroFunction, *args: Any, **kwargs: Any) -> float:
        """The loss in nats; gradients are added to the parameters. What ``SVI.step`` calls."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        _check_param_store(model, guide)
        if loss.requires_grad:
            loss.backward()
        return loss.item()


def _latent(trace: poutine.Trace) -> set[str]:
    return {name for name in trace.stochastic_nodes if not site_is_subsample(trace.nodes[name])}


def _check_sites(model_trace: poutine.Trace, guide_trace: poutine.Trace) -> None:
    model_sites, guide_sites = _latent(model_trace), _latent(guide_trace)
    if model_sites != guide_sites:
        raise InputError(
            f"model and guide do not fit: only the model has the latent sites {sorted(model_sites - guide_sites)}, "
            f"only the guide {sorted(guide_sites - model_sites)}; both must have the same."
        )


def _check_param_store(*functions: PyroFunction) -> None:
    """SVI steps what the parameter store holds; under the name of a module's parameter that must be this parameter."""
    store = pyro.get_param_store()
    for module in functions:
        for name, parameter in module.named_parameters() if isinstance(module, nn.Module) else ():
            for key in (name, name.replace(".", "$$$", 1)):
                if key in store and store._params[key] is not parameter:
                    raise InputError(
                        f"Pyro's parameter store already holds another {name!r}, from an earlier model or guide, and SVI "
                        "would train that one. Call pyro.clear_param_store() before building the new pair."
                    )


def _log_prob(name: str, site: Any) -> Tensor:
    log_prob = site["fn"].log_prob(site["value"])
    if log_prob.shape != site["fn"].batch_shape:
        raise InputError(
            f"site {name!r}: observations of shape {tuple(site['value'].shape)} do not fit a distribution of shape "
            f"{tuple(site['fn'].shape())}; they must be the same, for broadcasting would count observations more than once"
        )
    return scale_and_mask(log_prob, site["scale"], site["mask"]).sum()


def _site_kl(name: str, guide_site: Any, model_site: Any) -> Tensor:
    q, p = guide_site["fn"], model_site["fn"]
    if q.shape() != p.shape():
        raise InputError(f"site {name!r}: the guide's shape {tuple(q.shape())} must be the model's, {tuple(p.shape())}")
    try:
        divergence = kl_divergence(q, p)
    except NotImplementedError as error:
        bases = base_distribution(q), base_distribution(p)
        if any(isinstance(base, WeightPosterior | UnitPosterior | WeightPrior) for base in bases):
            raise InputError(
                f"weight site {name!r}: no KL(q‖p) is registered for q = {type(bases[0]).__name__} and "
                f"p = {type(bases[1]).__name__}, and it is never estimated by Monte Carlo. "
                "Register one with torch.distributions.register_kl."
            ) from error
        if not q.has_rsample:
            raise InputError(
                f"site {name!r}: the guide's {type(bases[0]).__name__} cannot be reparameterized, so its gradient would be "
                "biased; use a distribution with rsample, or register its KL(q‖p)."
            ) from error
        value = guide_site["value"]
        divergence = q.log_prob(value) - p.log_prob(value)
    return scale_and_mask(divergence, model_site["scale"], model_site["mask"]).sum()
