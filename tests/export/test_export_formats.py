"""ONNX and torch.export files: the same outputs for every batch size, run without Pyro, and clear refusals."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from support import ANYTHING, python, refuses
from torch import Tensor, nn

from pyro_vd import load_onnx, save_onnx
from pyro_vd.export import load_torch_export, save_torch_export
from pyro_vd.networks.modules import SelectInputs
from pyro_vd.networks.ready import mlp

needs_onnx = pytest.mark.skipif(
    any(find_spec(name) is None for name in ("onnx", "onnxruntime", "onnxscript")),
    reason="the extra onnx is not installed: pip install 'pyro_vd[onnx]'",
)
Save = Callable[[nn.Module, Path, Tensor], None]
PAIRS = [
    pytest.param(save_torch_export, load_torch_export, id="torch"),
    pytest.param(save_onnx, load_onnx, id="onnx", marks=needs_onnx),
]
SAVES = [pytest.param(save_torch_export, id="torch"), pytest.param(save_onnx, id="onnx", marks=needs_onnx)]


def convolutional() -> nn.Sequential:
    """With normalisation that has seen data, ordinary dropout, and in training mode."""
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.5)]
    net = nn.Sequential(*layers, nn.Linear(36, 10))
    net(torch.randn(50, 1, 8, 8))
    return net


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (lambda: mlp((64, 30, 10)), (8, 8)),
    "convolutional": (convolutional, (1, 8, 8)),
    "some inputs": (lambda: nn.Sequential(SelectInputs(8, 3, 1), nn.Flatten(), nn.Linear(24, 10)), (8, 8)),
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("save", "load"), PAIRS)
def test_round_trip(tmp_path: Path, save: Save, load: Callable[[Path], nn.Module], name: str) -> None:
    make, shape = NETWORKS[name]
    net = make()
    state = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    example = torch.full((3, *shape), 1.2345)
    path = tmp_path / "net"
    save(net, path, example)
    assert net.training
    assert all(torch.equal(tensor, state[key]) for key, tensor in net.state_dict().items())
    again, net = load(path).train().eval(), net.eval()
    for batch in (1, 2, 7):
        x = torch.randn(batch, *shape)
        torch.testing.assert_close(again(x), net(x), rtol=0, atol=1e-5)
    content = path.read_bytes()
    assert example.numpy().tobytes()[:32] not in content, "no user's data are in it"
    assert str(Path(torch.__file__).parent).encode() not in content, "and no paths of the machine"


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x if len(x) > 5 else x


class Shape(nn.Module):
    def forward(self, x: Tensor) -> tuple[int, ...]:
        return tuple(x.shape)


class Noise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


REFUSED: dict[str, tuple[nn.Module, Tensor, str, object, list[str]]] = {
    "depends on the batch": (Branch(), torch.ones(2, 3), "net", "Branch", ["Branch"]),
    "no tensor": (Shape(), torch.ones(2, 3), "net", (1, 3), ["tuple"]),
    "random": (Noise(), torch.ones(2, 3), "net", ANYTHING, ["(1, 3)", "e-"]),
    "no example": (nn.Linear(3, 2), torch.ones(0, 3), "example", (0, 3), ["(n, …)"]),
    "another shape": (nn.Linear(3, 2), torch.ones(2, 4), "example", (4,), ["torch.float32"]),
    "another type": (nn.Linear(3, 2), torch.ones(2, 3).double(), "example", (3,), ["torch.float64"]),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("save", SAVES)
def test_refusals_write_nothing(tmp_path: Path, save: Save, name: str) -> None:
    net, example, field, value, mentioned = REFUSED[name]
    (tmp_path / "net").write_text("mine")
    with refuses(field, value, *mentioned):
        save(net, tmp_path / "net", example)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(("save", "load"), PAIRS)
def test_inputs_that_a_file_is_not_for(tmp_path: Path, save: Save, load: Callable[[Path], nn.Module]) -> None:
    """A graph holds sizes as numbers: what it gives for others may be another function."""
    save(mlp((12, 5, 3)), tmp_path / "net", x := torch.randn(2, 3, 4))
    net = load(tmp_path / "net")
    assert net(x[:0]).shape == (0, 3)
    for wrong in (x.double(), x.long(), x.bfloat16(), x[0], x[:, None], torch.randn(2, 4, 3), torch.randn(2, 12)):
        shape = tuple(wrong.shape)
        with refuses("x", (shape, wrong.dtype), shape, wrong.dtype, tmp_path / "net", "(any, 3, 4), torch.float32"):
            net(wrong)
    with refuses("x", array := x.numpy(), "ndarray"):
        net(array)


@needs_onnx
def test_what_onnx_runtime_cannot_run_is_refused(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3)).double()
    with refuses("net", "Sequential", "Conv"):
        save_onnx(net, tmp_path / "net", torch.ones(2, 1, 4, 4).double())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("save", "load"), PAIRS)
def test_broken_files_are_refused(tmp_path: Path, save: Save, load: Callable[[Path], nn.Module]) -> None:
    path = tmp_path / "net"
    with refuses(str(path)):
        load(path)
    save(mlp((4, 3, 2)), path, torch.ones(1, 4))
    whole = path.read_bytes()
    for content in (b"", b"garbage" * 100, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with refuses(str(path)):
            load(path)


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    for call in (lambda: save_onnx(mlp((4, 2)), tmp_path / "net", torch.ones(1, 4)), lambda: load_onnx(tmp_path / "net")):
        with refuses("onnxscript", ANYTHING, "ONNX", "pip install 'pyro_vd[onnx]'"):
            call()
    assert not list(tmp_path.iterdir())


ALONE = {
    "torch": "import torch; run = torch.export.load(sys.argv[1]).module(); x = torch.ones(5, 8, 8)",
    "onnx": "import onnxruntime, numpy; session = onnxruntime.InferenceSession(sys.argv[1]); "
    "run = lambda x: session.run(['output'], {'input': x})[0]; x = numpy.ones((5, 8, 8), 'float32')",
}


@pytest.mark.parametrize(("save", "kind"), [(save_torch_export, "torch"), pytest.param(save_onnx, "onnx", marks=needs_onnx)])
def test_runs_without_this_package(tmp_path: Path, save: Save, kind: str) -> None:
    net = mlp((64, 30, 10))
    save(net, tmp_path / "net", torch.zeros(1, 8, 8))
    absent = "sys.modules['pyro'] = sys.modules['pyro_vd'] = None"
    done = python(f"import sys, json; {absent}; {ALONE[kind]}; print(json.dumps(run(x).tolist()))", tmp_path / "net")
    assert done.returncode == 0, done.stderr
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)), net.eval()(torch.ones(5, 8, 8)), rtol=0, atol=1e-5)
