"""What compaction cannot follow: an error that names the module and the operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from compaction_support import Around, check_compact
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import compact
from pyro_vd.models import MLP
from pyro_vd.networks.layers import widths


class Raises(nn.Module):
    """A linear layer in a module that tracing cannot follow, or that depends on its size."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.inner = Around(lambda net, h: h)
        self.inner.between = function

    def forward(self, x: Tensor) -> Any:
        return self.inner(x)


def double_if_positive(net: Any, h: Tensor) -> Tensor:
    return 2 * h if h.sum() > 0 else h


def set_item(net: Any, h: Tensor) -> Tensor:
    h[:, 0] = 1
    return h


REFUSED: dict[str, tuple[Callable[[Any, Tensor], Any], str, list[str]]] = {
    "control flow": (double_if_positive, "inner", ["Around", "`return 2 * h if h.sum() > 0 else h`"]),
    "assignment": (set_item, "inner", ["Around", "`h[:, 0] = 1`"]),
    "numbers": (lambda net, h: h * float(h.mean()), "inner", ["Around", "h.mean()"]),
    "types": (lambda net, h: h if isinstance(h, Tensor) else h + 1, "net", ["Sequential"]),
    "chance": (lambda net, h: F.dropout(h), "net", ["Sequential"]),
    "sizes": (lambda net, h: h * net.first.out_features, "net", ["Raises", " 8)", " 6)"]),
    "layers": (lambda net, h: h if net.first.out_features == 8 else h + 1, "net", ["Raises", "add"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    function, name, mentioned = REFUSED[case]
    with refuses(name, ANYTHING, *mentioned):
        compact(Raises(function), torch.randn(2, 6))


def test_tensors_made_of_sizes() -> None:
    class Scaled(Around):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.factor(self)

    net = Scaled(lambda net, h: h)
    net.factor = lambda net: torch.tensor([2.0, 3.0, 0.5]).double()
    assert widths(check_compact(net, 6)) == (6, 6, 3)
    assert not [name for name in vars(compact(net, torch.randn(2, 6).double())) if "tensor" in name]
    net.factor = lambda net: torch.tensor(float(net.first.out_features))
    with refuses("net", ANYTHING, "Scaled", "tensor_()"):
        compact(net, torch.randn(2, 6).double())


def test_bad_input() -> None:
    linear, conv = nn.Sequential(nn.Linear(4, 2)), nn.Sequential(nn.Conv2d(1, 2, 3))
    with refuses("net", "net", "str"):
        compact("net")  # type: ignore[arg-type]
    with refuses("net", model := MLP((4, 2)), "MLP", "prune(guide)"):
        compact(model)
    with refuses("example", None, "Sequential"):
        compact(conv)
    with refuses("example", (2, 3)):
        compact(linear, torch.randn(2, 3))
    with refuses("example", (4,)):
        compact(linear, torch.randn(4))
    with refuses("net", ["input1", "input2"], "Bilinear"):
        compact(nn.Bilinear(4, 4, 2), torch.randn(2, 4))
    handle = linear[0].register_forward_hook(lambda module, args, output: 2 * output)
    with refuses("0", "Linear", "Linear"):
        compact(linear)
    handle.remove()
    with torch.no_grad():
        linear[0].bias[0] = torch.nan
    with refuses("0.bias"):
        compact(linear)
