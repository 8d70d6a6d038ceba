"""A network with one form for each range of batch sizes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.networks.inputs import tensors_in
from pyro_vd.runtime.csr import linear_steps
from pyro_vd.runtime.inputs import check_input
from pyro_vd.runtime.report import RuntimeReport


class SparseRuntime(nn.Module):
    """A network with one form for each range of batch sizes, separated by ``limits``; see :func:`~.sparsify.sparsify_runtime`.

    Attributes:
        net: the network itself. It is not run by itself; its weights are counted where the size is measured.
        forms: one for each range, in evaluation mode.
        limits: the batch sizes between the ranges.
        report: which layers are sparse, and the times that they were chosen by.
    """

    def __init__(
        self, net: nn.Module, forms: Sequence[nn.Module], limits: Sequence[float], report: RuntimeReport | None = None
    ) -> None:
        super().__init__()
        self.net: nn.Module = net
        self.forms: nn.ModuleList = nn.ModuleList(forms)
        self.limits: tuple[float, ...] = tuple(limits)
        self.report: RuntimeReport | None = report
        self._calls = tuple(form.forward for form in forms)  # faster to look up and to call than modules
        self._is_one: bool = all(form is forms[0] for form in forms)
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The network's output; the number of examples, dimension 0 of the first tensor, decides which form computes it."""
        if self._is_one:
            return self._calls[0](*args, **kwargs)
        first = args[0] if args and isinstance(args[0], Tensor) else next(tensors_in((args, kwargs)), None)
        if first is None or not first.ndim:
            raise InputError(name="x", value=args or kwargs, allowed="inputs with a tensor of shape (n, …)")
        return self._form(len(first))(*args, **kwargs)

    def _form(self, batch: int) -> Any:
        return self._calls[bisect_left(self.limits, batch)]

    def extra_repr(self) -> str:
        reach = [*(f"up to a batch of {limit:.0f}" for limit in self.limits), "above" if self.limits else "at every batch"]
        if self.report is None:
            return ", ".join(f"({index}) {text}" for index, text in enumerate(reach))
        measured = zip(reach, self.report.networks, strict=True)
        lines = [f"({index}) {text}; {whole}" for index, (text, whole) in enumerate(measured)]
        return "\n".join([*lines, f"measured with {self.report.threads} CPU thread(s)"])


class ChainRuntime(SparseRuntime):
    """The same for linear layers with activations between, where every place in front of the features counts as an example."""

    def __init__(
        self, net: nn.Module, forms: Sequence[nn.Module], limits: Sequence[float], report: RuntimeReport | None = None
    ) -> None:
        super().__init__(net, forms, limits, report)
        self._flattens = any(isinstance(module, nn.Flatten) for module in net.modules())

    def forward(self, x: Tensor) -> Tensor:
        try:
            result: Tensor = self._form(len(x) if self._flattens else x.shape[:-1].numel())(x)
        except (RuntimeError, IndexError, AttributeError, TypeError):
            check_input(x, *linear_steps(self.net))
            raise
        return result
