"""The guard of a training loop: a non-finite step is skipped and counted, ten in a row end the training."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from pyro_vd.elbo import VariationalDropoutELBO
from pyro_vd.errors import NonFiniteError

MAX_IN_A_ROW = 10


class NonFiniteGuard:
    """Tells whether a step may be taken, and undoes what a step that may not has done to running statistics.

    Args:
        module: what is trained; its parameters hold the gradients.
        elbo: whose last step tells where a loss came from.
    """

    def __init__(self, module: nn.Module, elbo: VariationalDropoutELBO) -> None:
        self.skipped = 0
        self.in_a_row = 0
        self._elbo = elbo
        self._named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        self._statistics = [
            buffer for part in module.modules() if isinstance(part, _NormBase) for buffer in part.buffers(recurse=False)
        ]
        self._good = [buffer.clone() for buffer in self._statistics]

    def is_finite(self, loss: Tensor) -> bool:
        """True if the loss and every gradient are finite: one pass over the gradients, one wait for the device.

        Raises:
            NonFiniteError: the tenth step in a row that is not.
        """
        gradients = [p.grad for _, p in self._named if p.grad is not None]
        largest = torch.nn.utils.get_total_norm(gradients, norm_type=torch.inf)
        if bool(torch.isfinite(largest + loss.detach())):
            self.in_a_row = 0
            self._good = [buffer.clone() for buffer in self._statistics]
            return True
        for buffer, good in zip(self._statistics, self._good, strict=True):
            buffer.copy_(good)
        self.skipped += 1
        self.in_a_row += 1
        if self.in_a_row == MAX_IN_A_ROW:
            raise NonFiniteError(self._explain(loss.item()))
        return False

    def _explain(self, loss: float) -> str:
        suspects = {
            "the KL of the sites": [name for name, kl in self._elbo.site_kl.items() if not torch.isfinite(kl)],
            "the data term": [f"{self._elbo.data_term.item()}"] if not torch.isfinite(self._elbo.data_term) else [],
            "the parameters": [name for name, p in self._named if not torch.isfinite(p).all()],
            "the gradients of": [n for n, p in self._named if p.grad is not None and not torch.isfinite(p.grad).all()],
        }
        culprits = "; ".join(f"{what} {', '.join(names)}" for what, names in suspects.items() if names)
        return (
            f"{MAX_IN_A_ROW} steps in a row were not finite and were skipped; the last loss is {loss}. Not finite: {culprits}. "
            "Try a lower learning rate, a KL warm-up, a smaller log_sigma2 at the start, or inputs scaled to about [0, 1]."
        )
