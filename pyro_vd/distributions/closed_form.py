"""The KL of a weight site whose gradient is added in closed form, after the backward pass of the data.

θ and σ² enter the forward pass as leaves, where autograd stops. One pass over the weights, part by part in the cache, then adds
the gradient of the KL to that of the data, turns the gradient of σ² into that of log σ², and sums the KL. Autograd would store
seven tensors of the size of the weight, and read and write them several times. Results are the same up to rounding.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from pyro_vd.distributions.formulas import closed_gradients
from pyro_vd.distributions.kl import LOG2_E, MAX, MAX_LOG_SIGMA2, TINY, parts, sum_and_slope
from pyro_vd.distributions.priors import LogUniform, NormalARD
from pyro_vd.distributions.weight_posterior import MultiplicativeNormal


class ClosedForm:
    """KL(q‖p) of one weight site in one step.

    Attributes:
        posterior: q, with σ² as a leaf.
    """

    def __init__(self, q: MultiplicativeNormal, form: str) -> None:
        self._theta, self._log_sigma2, self._form = q.theta, q.log_sigma2, form
        log_sigma2 = q.log_sigma2.detach().clamp(-MAX_LOG_SIGMA2, MAX_LOG_SIGMA2)
        self._variance = log_sigma2.mul_(LOG2_E).exp2_().requires_grad_()  # faster than exp
        self.posterior: MultiplicativeNormal = copy.copy(q)
        self.posterior.given_variance = self._variance

    @staticmethod
    def of(q: Any, p: Any) -> ClosedForm | None:
        """Return the KL of a pair with a form of :mod:`.kl`, if the parameters of ``q`` are leaves; None otherwise.

        Hooks of parameters must see the whole gradient, so that they exclude it, too.
        """
        form = "ard" if type(p) is NormalARD else p.kl if type(p) is LogUniform else None
        if form is None or type(q) is not MultiplicativeNormal or q.batch_shape != p.batch_shape:
            return None
        if not torch.is_grad_enabled() or q.theta is q.log_sigma2 or not (_is_leaf(q.theta) and _is_leaf(q.log_sigma2)):
            return None
        return ClosedForm(q, form)

    @torch.no_grad()
    def finish(self, weight: float) -> Tensor:
        """Add ``weight`` times the gradient of the KL to that of the data, which has been computed; return the KL in nats."""
        of_theta, of_log_sigma2 = (_contiguous(leaf) for leaf in (self._theta, self._variance))
        sums = []
        for (theta, variance, first, second), buffers in parts(self._theta, self._variance, of_theta, of_log_sigma2):
            over_variance, inverse_alpha, slope, *scratch = buffers
            torch.div(theta, variance, out=over_variance).clamp_(-MAX, MAX)
            torch.mul(theta, over_variance, out=inverse_alpha).clamp_(TINY, MAX)
            sums.append(sum_and_slope(self._form, inverse_alpha, slope, scratch))
            first.addcmul_(slope, over_variance, value=weight)
            second.mul_(variance).addcmul_(slope, inverse_alpha, value=-0.5 * weight)
        self._theta.grad = of_theta
        earlier = self._log_sigma2.grad
        self._log_sigma2.grad = of_log_sigma2 if earlier is None else earlier.add_(of_log_sigma2)
        return 0.5 * sum(sums, self._theta.new_zeros(()))

    def finish_recorded(self, gradient: dict[int, Tensor | None], weight: Tensor) -> Tensor:
        """Do as :meth:`finish`, with gradients by the ``id`` of the leaf, by operations for a compiler.

        Those of the data with respect to θ and σ² are replaced by those of all with respect to θ and log σ².
        """
        of_leaves = gradient.pop(id(self._theta)), gradient.pop(id(self._variance))
        of_theta, of_log_sigma2, kl = closed_gradients(self._form, self._theta, self._variance, *of_leaves, weight=weight)
        earlier = gradient[id(self._log_sigma2)]
        gradient[id(self._theta)] = of_theta
        gradient[id(self._log_sigma2)] = of_log_sigma2 if earlier is None else earlier + of_log_sigma2
        return kl


def _is_leaf(tensor: Tensor) -> bool:
    hooks: Any = tensor._backward_hooks, tensor._post_accumulate_grad_hooks
    return tensor.is_leaf and tensor.requires_grad and tensor.is_contiguous() and not any(hooks)


def _contiguous(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad.contiguous()
