"""The functions of pyro_vd on one guide or one network in four threads give what they give one after the other."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor, nn

import pyro_vd as vd
from pyro_vd.export import load_torch_export, save_torch_export
from pyro_vd.posterior.arviz_files import to_tree
from pyro_vd.runtime import sparsify_runtime

THREADS = 4
X = torch.randn(120, 8, generator=torch.Generator().manual_seed(1))
Y = X[:, :3].argmax(1)


class Trained:
    """A guide after a short training, with its pruned network and the compact one: BatchNorm and dropout have two modes."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))
        self.guide = vd.VariationalDropout(vd.BayesianNetwork(net))
        vd.fit(self.guide, (X, Y), epochs=5, batch_size=32, progress=False)
        self.pruned = vd.prune(self.guide)
        self.small = vd.compact(self.pruned)

    def modes(self) -> list[bool]:
        """Of all modules."""
        everything = (self.guide, self.guide.model, self.pruned, self.small)
        return [module.training for each in everything for module in each.modules()]


@pytest.fixture(scope="module")
def trained() -> Trained:
    return Trained()


def numbers(tree: Any) -> Any:
    """Tensors as lists, to be compared and counted."""
    if isinstance(tree, nn.Module):
        return numbers(tree.state_dict())
    if isinstance(tree, dict):
        return tuple((key, numbers(value)) for key, value in tree.items())
    return tuple(tree.flatten().tolist()) if isinstance(tree, Tensor) else repr(tree)


def saved(trained: Trained, folder: Path) -> Any:
    path = folder / f"{threading.get_ident()}.safetensors"
    vd.save_pruned(trained.pruned, path)
    return vd.load_pruned(path)


def exported(trained: Trained, folder: Path) -> Any:
    path = folder / f"{threading.get_ident()}.pt2"
    save_torch_export(trained.small, path, X[:4])
    return vd.predict(load_torch_export(path), X).log_p


def as_onnx(trained: Trained, folder: Path) -> Any:
    path = folder / f"{threading.get_ident()}.onnx"
    vd.save_onnx(trained.small, path, X[:4])
    return vd.predict(vd.load_onnx(path), X).log_p


def seeded(trained: Trained, _: Path) -> Any:
    data = vd.to_inference_data(trained.guide, (X, Y), num_samples=5, weights=0, seed=3)
    return torch.from_numpy(to_tree(data)["log_likelihood"]["y"].values)


FUNCTIONS: dict[str, tuple[int, Callable[[Trained, Path], Any]]] = {
    "predict, a guide": (10, lambda trained, _: vd.predict(trained.guide, X).log_p),
    "predict, a network": (25, lambda trained, _: vd.predict(trained.pruned, X).log_p),
    "evaluate, a guide": (3, lambda trained, _: vd.evaluate(trained.guide, (X, Y))),
    "evaluate, a network": (5, lambda trained, _: vd.evaluate(trained.small, (X, Y))),
    "prune": (5, lambda trained, _: vd.prune(trained.guide)),
    "compact": (2, lambda trained, _: vd.compact(trained.pruned, X[:2])),
    "log_alpha": (10, lambda trained, _: vd.log_alpha(trained.guide)),
    "posterior_mean": (5, lambda trained, _: vd.posterior_mean(trained.guide)),
    "choose_threshold": (1, lambda trained, _: vd.choose_threshold(trained.guide, (X, Y))),
    "surviving_units": (3, lambda trained, _: vd.surviving_units(trained.pruned)),
    "to_inference_data": (2, seeded),
    "save_pruned": (5, saved),
    "save_torch_export": (1, exported),
    "save_onnx": (1, as_onnx),
    "sparsify_runtime": (
        1,
        lambda trained, _: vd.predict(sparsify_runtime(trained.pruned, example=X), X).log_p.round(decimals=4),
    ),
}


SLOW = ("save_onnx", "save_torch_export")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in FUNCTIONS])
def test_results_are_those_of_one_thread(trained: Trained, tmp_path: Path, name: str) -> None:
    """Draws come from the generator that all threads share: each call gets the draws of one of the calls in one thread."""
    times, function = FUNCTIONS[name]
    modes = trained.modes()
    torch.manual_seed(5)
    wanted = Counter(numbers(function(trained, tmp_path)) for _ in range(THREADS * times))
    torch.manual_seed(5)
    found: list[Any] = []
    start = threading.Barrier(THREADS)

    def work() -> None:
        start.wait()
        for _ in range(times):
            try:
                found.append(numbers(function(trained, tmp_path)))
            except Exception as error:
                found.append(error)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [error for error in found if isinstance(error, Exception)] == []
    assert Counter(found) == wanted
    assert _PYRO_STACK == []
    assert trained.modes() == modes
