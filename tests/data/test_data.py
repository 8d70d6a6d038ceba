"""Data sets: what is loaded is what was there, split without overlap, downloaded whole or not at all."""

from __future__ import annotations

import functools
import gc
import gzip
import http.server
import os
import pickle
import threading
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from support import contents, refuses, run_cli, write_images, write_mnist, write_npz

from pyro_vd import load_data
from pyro_vd.data.dataset import Dataset


def test_digits() -> None:
    data, again = load_data("digits"), load_data("digits")
    assert data.x_train.shape == (1437, 64)
    assert data.x_test.shape == (360, 64)
    assert data.x_train.dtype == torch.float32
    assert data.y_train.dtype == torch.int64
    assert (data.x_train.min(), data.x_train.max()) == (0, 1)
    assert data.y_train.unique().tolist() == data.y_test.unique().tolist() == list(range(10))
    assert torch.equal(data.x_train, again.x_train)
    assert torch.equal(data.y_test, again.y_test)
    both = torch.cat([data.x_train, data.x_test])
    from sklearn.datasets import load_digits

    everything = torch.from_numpy(load_digits().data / 16).float()
    assert sorted(both.tolist()) == sorted(everything.tolist()), "training and test data are all of the digits, each once"


def test_split() -> None:
    numbers = torch.arange(50)
    data = Dataset("numbers", numbers[:, None].float(), numbers, numbers[:2, None].float(), numbers[:2])
    (x, y), held = data.split(20)
    assert held is not None
    assert (len(y), len(held[1])) == (30, 20)
    assert sorted(torch.cat([y, held[1]]).tolist()) == numbers.tolist(), "disjoint, and nothing is lost"
    assert torch.equal(x[:, 0], y.float()), "inputs stay with their labels"
    assert torch.equal(held[0][:, 0], held[1].float())
    assert torch.equal(data.split(20)[0][1], y), "the same at every call"
    torch.manual_seed(5)
    assert torch.equal(data.split(20)[0][1], y), "whatever the global seed"
    assert not torch.equal(data.split(20, seed=1)[0][1], y)
    assert held[1].tolist() != list(range(30, 50)), "drawn at random"
    assert data.split(0)[1] is None
    assert torch.equal(data.split(0)[0][1], numbers)
    for bad in (-1, 50, 2.5, True):
        with refuses("validation", bad):
            data.split(bad)  # type: ignore[arg-type]


def test_npz(tmp_path: Path) -> None:
    arrays = write_npz(tmp_path / "a.npz")
    data = load_data(str(tmp_path / "a.npz"))
    assert np.array_equal(data.x_train.numpy(), arrays["x_train"]), "floating-point inputs are taken as they are"
    assert data.y_test.tolist() == arrays["y_test"].tolist()
    pixels = np.arange(120, dtype=np.uint8).reshape(30, 4) * 2
    write_npz(tmp_path / "b.npz", x_train=pixels, x_test=pixels[:9], y_train=arrays["y_train"].astype(np.uint8))
    data = load_data(str(tmp_path / "b.npz"))
    assert np.allclose(data.x_train.numpy(), pixels / 255), "bytes become pixels in [0, 1]"
    assert data.y_train.dtype == torch.int64
    tokens = pixels.astype(np.int32) * 100
    write_npz(tmp_path / "c.npz", x_train=tokens, x_test=tokens[:9].astype(np.int64))
    data = load_data(str(tmp_path / "c.npz"))
    assert data.x_train.dtype == data.x_test.dtype == torch.int64
    assert np.array_equal(data.x_train.numpy(), tokens), "wider integers are tokens, which an embedding reads"


def test_tokens_of_an_npz_file_are_trained_on(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 12, (30, 4))
    write_npz(tmp_path / "a.npz", x_train=tokens, x_test=tokens[:9])
    network = "{class: pyro_vd.networks.lstm_classifier, args: {vocabulary: 12, classes: 3, width: 3, hidden: 2}}"
    (tmp_path / "mine.yaml").write_text(
        f"data: {{name: {tmp_path / 'a.npz'}}}\nmodel: {network}\ntrain: {{epochs: 1, batch_size: 30}}\n"
    )
    run_cli("train", str(tmp_path / "mine.yaml"), "--out", str(tmp_path / "out"), "--quiet")
    assert (tmp_path / "out" / "pruned.safetensors").exists()


def test_mnist_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = write_mnist(tmp_path)
    data = load_data("mnist", tmp_path)
    assert np.allclose(data.x_train.numpy(), images / 255)
    assert data.y_train.tolist() == labels.tolist()
    assert data.x_test.shape == (20, 28, 28)
    monkeypatch.setenv("PYRO_VD_DATA", str(tmp_path))
    assert torch.equal(load_data("mnist").x_test, data.x_test)


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and says nothing."""

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A server of small files in MNIST's format, on this machine: the folder it serves."""
    write_mnist(tmp_path / "mirror")
    folder = tmp_path / "mirror" / "MNIST" / "raw"
    sums = []
    mnist = torchvision.datasets.MNIST
    for name, _ in mnist.resources:
        content = gzip.compress((folder / name.removesuffix(".gz")).read_bytes())
        (folder / name).write_bytes(content)
        sums.append((name, md5(content).hexdigest()))
    monkeypatch.setattr(mnist, "resources", sums)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(mnist, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


def test_download(tmp_path: Path, mirror: Path) -> None:
    root = tmp_path / "new" / "root"
    data = load_data("mnist", root)
    assert len(data.y_train) == 40
    assert "MNIST/raw/train-images-idx3-ubyte" in contents(root)
    (mirror / "train-images-idx3-ubyte.gz").unlink()
    assert torch.equal(load_data("mnist", root).x_train, data.x_train), "the second time nothing is downloaded"


def test_data_folder_on_the_command_line(tmp_path: Path) -> None:
    write_mnist(tmp_path / "old")
    keys = ("--data.name=mnist", "--data.validation=9", "--model.sizes=[784, 10]", "--quiet", "--json")
    epochs = [f"--{phase}.epochs=1" for phase in ("pretrain", "train", "finetune")]
    code, _, err = run_cli("train", "digits", *keys, *epochs, "--data-dir", tmp_path / "old", "--out", tmp_path / "run")
    assert code == 0, err
    (tmp_path / "old").rename(tmp_path / "new")
    for command in (["evaluate", tmp_path / "run"], ["prune", tmp_path / "run", "--out", tmp_path / "file"]):
        code, _, err = run_cli(*command, "--data-dir", tmp_path / "new")
        assert code == 0, err


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # torchvision leaves the socket of an HTTP error to the collector
@pytest.mark.parametrize("missing", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
def test_failed_download_leaves_nothing(tmp_path: Path, mirror: Path, missing: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (mirror / missing).unlink()
    keys = ("--data.name=mnist", f"--data.dir={root}", "--model.sizes=[784, 10]")
    code, out, err = run_cli("train", "digits", "--out", tmp_path / "out", *keys)
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]  # torchvision's progress comes first
    for text in ("error: mnist is not in", str(root), missing, "PYRO_VD_DATA", "digits"):
        assert text in last
    assert list(root.iterdir()) == []
    assert not (tmp_path / "out").exists()
    gc.collect()


def test_real_mnist() -> None:
    root = Path(os.environ.get("PYRO_VD_DATA", "nowhere"))
    if not (root / "MNIST" / "raw").is_dir():
        pytest.skip("PYRO_VD_DATA names no torchvision root with MNIST in it")
    data = load_data("mnist")
    assert data.x_train.shape == (60_000, 28, 28)
    assert data.x_test.shape == (10_000, 28, 28)
    assert data.y_test.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert data.x_train.mean().item() == pytest.approx(0.1307, abs=1e-4)


def test_cifar10_is_channels_first_and_only_unpickled_if_it_is_the_real_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar = torchvision.datasets.CIFAR10
    folder = tmp_path / cifar.base_folder
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3072)).astype(np.uint8)
    files = {name: {"data": pixels, "labels": [0, 1, 2, 3]} for name, _ in cifar.train_list + cifar.test_list}
    for name, content in {**files, "batches.meta": {"label_names": list("abcd")}}.items():
        (folder / name).write_bytes(pickle.dumps(content))
    monkeypatch.setattr(cifar, "url", "http://127.0.0.1:1/")
    with refuses(str(folder), "cifar10", "cifar10"):
        load_data("cifar10", tmp_path)
    for listed in ("train_list", "test_list"):
        sums = [[name, md5((folder / name).read_bytes()).hexdigest()] for name, _ in getattr(cifar, listed)]
        monkeypatch.setattr(cifar, listed, sums)
    meta = {**cifar.meta, "md5": md5((folder / "batches.meta").read_bytes()).hexdigest()}
    monkeypatch.setattr(cifar, "meta", meta)
    data = load_data("cifar10", tmp_path)
    assert data.x_train.shape == (20, 3, 32, 32)
    assert np.allclose(data.x_test.numpy(), pixels.reshape(4, 3, 32, 32) / 255)
    assert data.y_test.tolist() == [0, 1, 2, 3]


def test_image_folder(tmp_path: Path) -> None:
    data = load_data(str(write_images(tmp_path)))
    assert data.x_train.shape == (6, 3, 4, 5)
    assert data.y_train.tolist() == data.y_test.tolist() == [0, 0, 0, 1, 1, 1]
    with Image.open(tmp_path / "train" / "dog" / "2.png") as image:
        assert np.allclose(data.x_train[5].numpy(), np.asarray(image).transpose(2, 0, 1) / 255)
