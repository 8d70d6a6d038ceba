"""The guard of a training loop: a non-finite step is skipped and counted; ten in a row end the training.

Loss and gradients are checked at every step; parameters and buffers at the end of every epoch.
"""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import NonFiniteError
from pyro_vd._core.generators import generators_kept
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.inference.handlers import own_parameters
from pyro_vd.networks.inputs import device_of
from pyro_vd.networks.modes import in_evaluation_mode
from pyro_vd.networks.norms import CHANNEL_NORMS

MAX_IN_A_ROW = 10


class NonFiniteGuard:
    """Decides whether a step may be taken; if not, it restores the running statistics that the forward pass has changed.

    Args:
        module: the module that is trained; its parameters hold the gradients.
        elbo: the objective, whose terms at the last step explain a non-finite loss.
    """

    def __init__(self, module: nn.Module, elbo: VariationalDropoutELBO) -> None:
        self.skipped: int = 0
        self.in_a_row: int = 0
        self._elbo = elbo
        self._named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self._statistics = [
            buffer for part in module.modules() if isinstance(part, CHANNEL_NORMS) for buffer in part.buffers(recurse=False)
        ]
        self._module = module
        self.start()

    def start(self) -> None:
        """Take the present state as the good one. What is not finite now may stay so, such as −∞ in a causal mask."""
        self._good = [buffer.clone() for buffer in self._statistics]
        self._broken_before = self._broken()

    def is_finite(self, loss: Tensor) -> bool:
        """Whether the loss and every gradient are finite: one pass over the gradients, one synchronisation with the device.

        Raises:
            NonFiniteError: ten steps in a row are not finite.
        """
        terms = [loss.detach(), *(p.grad for _, p in self._named if p.grad is not None)]
        # A value that is not finite makes the sum so, which takes a fiftieth of the time of a maximum. A sum may overflow, too.
        total = reduce(operator.add, [term.sum() for term in terms])
        if bool(torch.isfinite(total)) or all(bool(torch.isfinite(term).all()) for term in terms):
            self.in_a_row = 0
            self._good = [buffer.clone() for buffer in self._statistics]
            return True
        for buffer, good in zip(self._statistics, self._good, strict=True):
            buffer.copy_(good)
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row == MAX_IN_A_ROW:
            skipped = f"{MAX_IN_A_ROW} steps in a row were not finite and were skipped"
            raise NonFiniteError(self._explain(f"{skipped}; the last loss is {loss.item()}"))
        return False

    @torch.no_grad()
    def check_epoch(self, taken: int, *batch: Any) -> None:
        """Check parameters, buffers and the loss at the end of an epoch, before anything of it is kept.

        Args:
            taken: number of steps that were not skipped.
            batch: inputs and observations of the last step, if there are any. Their loss must be finite for one of ten draws of
                the noise; the state of torch's generators is kept.

        Raises:
            NonFiniteError: every step was skipped; or a parameter, a buffer or the loss has become non-finite.
        """
        if not taken:
            raise NonFiniteError(self._explain("every step of an epoch was not finite and was skipped"))
        before = self._broken_before
        if any(name not in before or not torch.equal(bad, before[name]) for name, bad in self._broken().items()):
            raise NonFiniteError(self._explain("what the last steps have made is not finite"))
        if not batch:
            return
        with generators_kept(device_of(batch)), in_evaluation_mode(self._module), own_parameters(), torch.no_grad():
            if not any(bool(torch.isfinite(self._module(*batch))) for _ in range(MAX_IN_A_ROW)):
                raise NonFiniteError(self._explain("with what the last step has made the loss is not finite"))

    def _broken(self) -> dict[str, Tensor]:
        """Masks of the non-finite values of parameters and buffers, by name; finite ones are left out. One synchronisation."""
        tensors = [*self._module.named_parameters(), *self._module.named_buffers()]
        kept = [(name, tensor.detach()) for name, tensor in tensors if tensor.is_floating_point() and tensor.numel()]
        if not kept:
            return {}
        good = torch.stack([torch.isfinite(tensor).all() for _, tensor in kept]).tolist()
        return {name: ~torch.isfinite(tensor) for (name, tensor), is_good in zip(kept, good, strict=True) if not is_good}

    def _explain(self, what: str) -> str:
        buffers = dict(self._module.named_buffers())
        suspects = {
            "the KL of the sites": [name for name, kl in self._elbo.site_kl.items() if not torch.isfinite(kl)],
            "the data term": [f"{self._elbo.data_term.item()}"] if not torch.isfinite(self._elbo.data_term) else [],
            "the parameters": [name for name, p in self._named if not torch.isfinite(p).all()],
            "the buffers": [name for name in self._broken() if name in buffers and name not in self._broken_before],
            "the gradients of": [n for n, p in self._named if p.grad is not None and not torch.isfinite(p.grad).all()],
        }
        culprits = "; ".join(f"{what} {', '.join(names)}" for what, names in suspects.items() if names)
        return (
            f"{what}. Not finite: {culprits or 'the loss'}. "
            "Try a lower learning rate, a KL warm-up, a smaller log_sigma2 at the start, or inputs scaled to about [0, 1]."
        )
