"""The KL of a weight site whose gradient is added in closed form, after the backward pass of the data.

θ and σ² enter the forward pass as leaves, where autograd stops. One pass over the weights, part by part in the cache, then adds
the gradient of the KL to that of the data, turns the gradient of σ² into that of log σ², and sums the KL. Autograd would store
seven tensors of the size of the weight, and read and write them several times. Results are the same up to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyro_vd.distributions.formulas import closed_gradients
from pyro_vd.distributions.kl import LOG2_E, MAX, MAX_LOG_SIGMA2, NUM_BUFFERS, TINY, sum_and_slope
from pyro_vd.distributions.parts import parts
from pyro_vd.distributions.priors import LogUniform, NormalARD


class ClosedForm:
    """KL(q‖p) of one weight site in one step, q with the parameters θ and log σ².

    Args:
        theta: θ, a leaf.
        log_sigma2: log σ², a leaf.
        form: the form of the KL; see :func:`form_of`.
        mask: False where a weight is removed; None where none is.

    Attributes:
        variance: σ², 0 where a weight is removed; a leaf, of which the forward pass makes use in place of log σ². As in every
            KL of this library, log σ² beyond ±80 counts as ±80, whose exponential is an ordinary number in float32: from 89 on
            it would be infinite, from −104 on 0. No training comes near: log σ² starts in [−60, 0], and with −60 or 30 a weight
            is exact or noise to float32.
    """

    def __init__(self, theta: Tensor, log_sigma2: Tensor, form: str, mask: Tensor | None = None) -> None:
        self._theta, self._log_sigma2, self._form, self._mask = theta, log_sigma2, form, mask
        variance = log_sigma2.detach().clamp(-MAX_LOG_SIGMA2, MAX_LOG_SIGMA2).mul_(LOG2_E).exp2_()  # faster than exp
        self.variance: Tensor = (variance if mask is None else variance.mul_(mask)).requires_grad_()

    @property
    def mean(self) -> Tensor:
        """θ, 0 where a weight is removed."""
        return self._theta if self._mask is None else self._theta * self._mask

    def finish(self, weight: float) -> Tensor:
        """Add ``weight`` times the gradient of the KL to that of the data, which has been computed; return the KL in nats.

        It is called without gradients enabled.
        """
        of_theta, of_log_sigma2 = _contiguous(self._theta), _contiguous(self.variance)
        theta, variance = self.mean.detach(), self.variance.detach()
        if self._mask is not None:
            variance = variance + ~self._mask  # 1/α = 0, whose KL is 0
        total: float | Tensor = 0.0
        tensors, num_buffers = (theta, variance, of_theta, of_log_sigma2), 3 + NUM_BUFFERS[self._form]
        for (mean, var, first, second), (over_variance, inverse_alpha, slope, *scratch) in parts(*tensors, buffers=num_buffers):
            torch.div(mean, var, out=over_variance).clamp_(-MAX, MAX)
            torch.mul(mean, over_variance, out=inverse_alpha).clamp_(TINY, MAX)
            total = total + sum_and_slope(self._form, inverse_alpha, slope, scratch)
            first.addcmul_(slope, over_variance, value=weight)
            second.mul_(var).addcmul_(slope, inverse_alpha, value=-0.5 * weight)
        if self._mask is not None:
            of_log_sigma2.mul_(self._mask)
        self._theta.grad = of_theta
        earlier = self._log_sigma2.grad
        self._log_sigma2.grad = of_log_sigma2 if earlier is None else earlier.add_(of_log_sigma2)
        return torch.as_tensor(0.5 * total, dtype=theta.dtype)

    def finish_recorded(self, gradient: dict[int, Tensor | None], weight: Tensor) -> Tensor:
        """Do as :meth:`finish`, with gradients by the ``id`` of the leaf, by operations for a compiler.

        Those of the data with respect to θ and σ² are replaced by those of all with respect to θ and log σ².
        """
        of_leaves = gradient.pop(id(self._theta)), gradient.pop(id(self.variance))
        variance = self.variance if self._mask is None else self.variance + ~self._mask
        of_theta, of_log_sigma2, kl = closed_gradients(self._form, self.mean, variance, *of_leaves, weight=weight)
        if self._mask is not None:
            of_log_sigma2 = of_log_sigma2 * self._mask
        earlier = gradient[id(self._log_sigma2)]
        gradient[id(self._theta)] = of_theta
        gradient[id(self._log_sigma2)] = of_log_sigma2 if earlier is None else earlier + of_log_sigma2
        return kl


def form_of(p: Any) -> str | None:
    """Return the form of the KL of weights with the prior ``p``; None where none of :mod:`.kl` has it."""
    kind = type(p)
    return p.kl if kind is LogUniform else "ard" if kind is NormalARD else None


def are_leaves(*tensors: Tensor) -> bool:
    """Whether gradients can be added to those of these tensors after the backward pass.

    Hooks of parameters must see the whole gradient, so that they exclude it.
    """
    return torch.is_grad_enabled() and all(map(_is_leaf, tensors))


def _is_leaf(tensor: Tensor) -> bool:
    hooks: Any = tensor._backward_hooks or tensor._post_accumulate_grad_hooks
    return tensor.is_leaf and tensor.requires_grad and tensor.is_contiguous() and not hooks


def _contiguous(leaf: Tensor) -> Tensor:
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad.contiguous()
