"""Adam with a short step: one call of the fused kernel of torch for each group of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks


class FusedAdam(torch.optim.Adam):
    """``torch.optim.Adam(fused=True)``: the same numbers and the same state, in less time per step.

    What torch finds out anew at every step, such as which parameters lie on which device, takes as long as the kernel itself
    for 100,000 parameters. Where parameters differ in device or type, have no state yet, or are scaled by a ``GradScaler``, the
    step is that of torch.

    Args:
        params: groups of parameters, each a dictionary with the key ``params``.
        lr: learning rate.
        weight_decay: factor of the parameters that is added to their gradients.
    """

    def __init__(self, params: list[dict[str, Any]], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay, fused=True)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove the gradients."""
        if not set_to_none:
            super().zero_grad(set_to_none)
            return
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step with the present gradients; a parameter without one stays."""
        hooks = self._optimizer_step_pre_hooks, self._optimizer_step_post_hooks, _global_optimizer_pre_hooks
        is_scaled = any(getattr(self, name, None) is not None for name in ("grad_scale", "found_inf"))  # by a GradScaler
        if closure is not None or is_scaled or any(hooks) or _global_optimizer_post_hooks:
            return _step_of_torch(self, closure)
        found = [self._arguments(group) for group in self.param_groups]
        if None in found:
            return _step_of_torch(self, None)
        with torch.no_grad():
            for group, arguments in zip(self.param_groups, found, strict=True):
                if arguments and arguments[0]:
                    torch._foreach_add_(arguments[-1], 1)
                    beta1, beta2 = group["betas"]
                    options = {name: group[name] for name in ("lr", "weight_decay", "eps")}
                    torch._fused_adam_(*arguments, **options, beta1=beta1, beta2=beta2, amsgrad=False, maximize=False)
        return None

    step.hooked = True  # type: ignore[attr-defined]  # torch does not wrap it; see _step_of_torch

    def _arguments(self, group: dict[str, Any]) -> tuple[list[Tensor], ...] | None:
        """Return the tensors of a group in the order of the kernel's arguments; None where one call cannot serve them all."""
        if group["amsgrad"] or group["maximize"] or group["differentiable"] or not group["fused"]:
            return None
        parameters, gradients, means, squares, steps = found = [], [], [], [], []  # type: ignore[var-annotated]
        for parameter in group["params"]:
            if (gradient := parameter.grad) is None:
                continue
            if not (state := self.state.get(parameter)) or gradient.is_sparse or gradient.is_complex():
                return None
            parameters.append(parameter)
            gradients.append(gradient)
            means.append(state["exp_avg"])
            squares.append(state["exp_avg_sq"])
            steps.append(state["step"])
        kinds = {(gradient.device, gradient.dtype) for gradient in gradients}
        return (*found[:4], [], steps) if len(kinds) <= 1 else None


def _step_of_torch(optimizer: FusedAdam, closure: Callable[[], float] | None) -> float | None:
    """Take a step as torch does, with the hooks of the optimizer."""
    step: Any = torch.optim.Adam.step
    if not hasattr(step, "hooked"):
        step = torch.optim.Optimizer.profile_hook_step(step)
    found: float | None = step(optimizer, closure)
    return found
