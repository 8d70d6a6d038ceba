"""What compaction cannot follow: the network comes back whole, with a message; bad input is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from compaction_support import Around, check_compact
from support import refuses
from torch import Tensor, nn

from pyro_vd import compact
from pyro_vd.models import MLP
from pyro_vd.networks.layers import widths


class Raises(nn.Module):
    """A linear layer in a module that cannot be followed, or that depends on its size."""

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


LEFT_WHOLE: dict[str, tuple[Callable[[Any, Tensor], Any], str]] = {
    "control flow": (double_if_positive, "`return 2 * h if h.sum() > 0 else h`"),
    "assignment": (set_item, "fill (inner)"),
    "numbers": (lambda net, h: h * float(h.mean()), "torch.export"),
    "chance": (lambda net, h: F.dropout(h), "dropout (inner)"),
    "sizes": (lambda net, h: h * net.first.out_features, "mul (inner)"),
    "vmap": (lambda net, h: torch.func.vmap(torch.tanh)(h), "_add_batch_dim"),
    "jvp": (lambda net, h: torch.func.jvp(torch.tanh, (h,), (h,))[1], "_make_dual"),
    "a gradient": (lambda net, h: torch.func.grad(lambda t: t.tanh().sum())(h), "_unwrap_for_grad"),
    "cond": (lambda net, h: torch.cond(h.sum() > 0, torch.sin, torch.cos, (h,)), "(cond)"),
    "layers": (lambda net, h: h if net.first.out_features == 8 else h + 1, "linear (inner.last)"),
}


@pytest.mark.parametrize("case", LEFT_WHOLE)
def test_what_cannot_be_followed_is_left_whole(case: str, caplog: pytest.LogCaptureFixture) -> None:
    function, mentioned = LEFT_WHOLE[case]
    net, x = Raises(function).eval(), torch.randn(2, 6)
    small = compact(net, x)
    assert widths(small) == widths(net)
    assert mentioned in caplog.text
    outputs = []
    for either in (net, small):
        torch.manual_seed(0)
        with torch.no_grad():
            outputs.append(either(x))
    torch.testing.assert_close(*outputs)


def test_the_line_is_named_where_torch_lies_behind_a_link(
    caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a virtual environment that is a link to another one."""
    (tmp_path / "link").symlink_to(Path(torch.__file__).parent, target_is_directory=True)
    monkeypatch.setattr(torch, "__file__", str(tmp_path / "link" / "__init__.py"))
    function, mentioned = LEFT_WHOLE["control flow"]
    compact(Raises(function).eval(), torch.randn(2, 6))
    assert mentioned in caplog.text


def test_transforms_leave_nothing_open() -> None:
    """What is computed after a network with a transform is computed as before."""
    for case in ("vmap", "jvp", "a gradient"):
        compact(Raises(LEFT_WHOLE[case][0]), torch.randn(2, 6))
        assert torch._C._functorch.maybe_current_level() is None, case


def settings(net: Any, h: Tensor) -> Tensor:
    with torch.enable_grad():
        h = h.tanh()
        with torch.autocast("cpu", enabled=False):
            h = 2 * h + torch.no_grad()(torch.sigmoid)(h)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        first, _, last = h.sin(), h.cos(), h.abs()
    return first * last


def test_blocks_under_other_settings_are_followed() -> None:
    assert widths(check_compact(Around(settings), 6)) == (6, 6, 3)


def test_choices_by_type_are_followed() -> None:
    assert widths(check_compact(Raises(lambda net, h: h if isinstance(h, Tensor) else h + 1), 6)) == (6, 6, 3)


def test_tensors_made_of_sizes() -> None:
    class Scaled(Around):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.factor(self)

    net = Scaled(lambda net, h: h)
    net.factor = lambda net: torch.tensor([2.0, 3.0, 0.5]).double()
    assert widths(check_compact(net, 6)) == (6, 6, 3)
    assert not [name for name in vars(compact(net, torch.randn(2, 6).double())) if "tensor" in name]
    net.factor = lambda net: torch.tensor(float(net.first.out_features))
    assert widths(check_compact(net, 6)) == (6, 8, 3)


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
    with refuses("example", (2, 4), "Bilinear"):
        compact(nn.Bilinear(4, 4, 2), torch.randn(2, 4))
    handle = linear[0].register_forward_hook(lambda module, args, output: 2 * output)
    with refuses("0", "Linear", "Linear"):
        compact(linear)
    handle.remove()
    with torch.no_grad():
        linear[0].bias[0] = torch.nan
    with refuses("0.bias"):
        compact(linear)
