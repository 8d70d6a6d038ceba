"""ONNX and torch.export files of networks with several inputs and outputs, of integers, and for sequences of any length."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support import ANYTHING, refuses
from test_export_formats import PAIRS, SAVES
from torch import Tensor, nn

from pyro_vd.export import load_torch_export, save_torch_export
from pyro_vd.networks.inputs import Inputs, run, tensors_in

Save = Callable[..., None]
Load = Callable[[Path], nn.Module]


class Several(nn.Module):
    """Two inputs, one that has a default, a flag, and outputs of any form, with something that is no tensor."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.form = form
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor, ids: Tensor | None = None, *, double: bool = False) -> Any:
        y = self.layer(x) * (2 if double else 1)
        z = y.argmax(-1) if ids is None else ids + 1
        forms: dict[str, Any] = {
            "tensor": y,
            "tuple": (y, (z, y[:, 0])),
            "one": (y,),
            "mapping": {"logits": y, "cache": object(), "hidden": (y + 1, z), "nothing": None},
        }
        return forms[self.form]


X, IDS = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.arange(3)
INPUTS: dict[str, Inputs] = {
    "a tensor": X,
    "a tuple of one": (X,),
    "a tuple": (X, IDS),
    "keywords": {"x": X, "ids": IDS},
    "keywords in another order, one no tensor": {"ids": IDS, "x": X, "double": True},
}
TOLD: dict[str, Callable[[Any], Any]] = {
    "tensor": lambda y: y,
    "tuple": lambda y: (y[0], *y[1]),
    "one": lambda y: y,
    "mapping": lambda y: {"logits": y["logits"], "hidden.0": y["hidden"][0], "hidden.1": y["hidden"][1]},
}


@pytest.mark.parametrize("form", TOLD)
@pytest.mark.parametrize("given", INPUTS)
@pytest.mark.parametrize(("save", "load"), PAIRS)
def test_inputs_and_outputs_of_any_form(tmp_path: Path, save: Save, load: Load, given: str, form: str) -> None:
    if given != "a tuple" and form in ("tuple", "one"):
        pytest.skip("the forms of inputs and outputs do not meet")
    net, x = Several(form), INPUTS[given]
    save(net, tmp_path / "net", x)
    again = load(tmp_path / "net")
    given_again: Any = {key: value for key, value in x.items() if isinstance(value, Tensor)} if isinstance(x, dict) else x
    found, wanted = run(again, given_again), TOLD[form](run(net.eval(), x))
    assert type(found) is type(wanted)
    assert not isinstance(wanted, dict) or list(found) == list(wanted)
    torch.testing.assert_close(found, wanted)


class Tagger(nn.Module):
    """A score per token; the mask hides tokens."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 6)
        self.recurrent = layer
        self.head = nn.LazyLinear(2)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.head(self.recurrent(self.embedding(ids))[0]) * mask[..., None]


RECURRENT: dict[str, Callable[[], nn.Module]] = {
    "LSTM of two layers": lambda: nn.LSTM(6, 5, num_layers=2, batch_first=True),
    "bidirectional GRU": lambda: nn.GRU(6, 5, bidirectional=True, batch_first=True),
    "bidirectional RNN": lambda: nn.RNN(6, 5, num_layers=2, bidirectional=True, batch_first=True),
    "RNN with ReLU": lambda: nn.RNN(6, 5, nonlinearity="relu", batch_first=True, bias=False),
}


@pytest.mark.parametrize("layer", RECURRENT)
@pytest.mark.parametrize(("save", "load"), PAIRS)
def test_sequences_of_any_length(tmp_path: Path, save: Save, load: Load, layer: str) -> None:
    net = Tagger(RECURRENT[layer]()).eval()

    def batch(n: int, length: int) -> dict[str, Tensor]:
        return {"ids": torch.randint(9, (n, length)), "mask": torch.randint(2, (n, length)).bool()}

    net(**batch(1, 2))
    save(net, tmp_path / "net", batch(2, 6), dynamic=(0, 1))
    again = load(tmp_path / "net")
    for n, length in ((1, 1), (4, 3), (3, 20)):
        x = batch(n, length)
        torch.testing.assert_close(again(**x), net(**x), rtol=0, atol=1e-6)


def test_a_recurrent_layer_is_one_operation_and_pytorch_is_left_as_it_was(tmp_path: Path) -> None:
    """It runs at the speed of eager mode; and exports without this package are what they were."""
    net, x = nn.LSTM(3, 4, batch_first=True), torch.randn(2, 5, 3)
    before = dict(torch.ops.aten.lstm.input.py_kernels)
    save_torch_export(net, tmp_path / "net", x, dynamic=(0, 1))
    graph = torch.export.load(tmp_path / "net").graph
    assert [str(node.target) for node in graph.nodes if "lstm" in str(node.target)] == ["aten.lstm.input"]
    assert torch.ops.aten.lstm.input.py_kernels == before
    assert [len(y) for y in tensors_in(load_torch_export(tmp_path / "net")(x))] == [2, 1, 1]


@pytest.mark.parametrize("save", SAVES)
def test_examples_and_sizes_that_do_not_fit_are_refused(tmp_path: Path, save: Save) -> None:
    net, flat = Several("tensor"), nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    refused: list[tuple[nn.Module, Any, Any, str, object, list[Any]]] = [
        (net, {"double": True}, (0,), "example", {}, ["n >= 1"]),
        (net, (X, IDS[:0]), (0,), "example", {"input_0": (3, 4), "input_1": (0,)}, ["n >= 1"]),
        (net, {"y": X}, (0,), "example", (4,), ["'y'"]),
        (net, X, (0, 2), "dynamic[1]", 2, []),
        (net, X, {"ids": (0,)}, "dynamic", {"ids": (0,)}, ["ids", "input"]),
        (net, X, {"input": (2,)}, "dynamic['input'][0]", 2, []),
        (net, X, 1, "dynamic", 1, []),
        (flat, X, (0, 1), "example", (3,), ["4x3"]),
        (nn.Sequential(nn.Softmax(1), nn.Unflatten(1, (-1, 4))), X, (1,), "example", ANYTHING, []),
    ]
    for network, example, dynamic, name, value, mentioned in refused:
        with refuses(name, value, *mentioned):
            save(network, tmp_path / "net", example, dynamic=dynamic)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("save", "load"), PAIRS)
def test_other_inputs_than_those_of_the_file_are_refused(tmp_path: Path, save: Save, load: Load) -> None:
    save(Several("tensor"), tmp_path / "net", {"x": X, "ids": IDS})
    net = load(tmp_path / "net")
    with refuses("x", ["x"], tmp_path / "net", "x, ids"):
        net(x=X)
    with refuses("x", ["input_0", "input_1"], "input_0, input_1", "x, ids"):
        net(X, IDS)
    with refuses("ids", ((3,), torch.int32), "(any), torch.int64"):
        net(x=X, ids=IDS.int())
