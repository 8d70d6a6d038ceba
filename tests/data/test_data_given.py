"""Data as users have them: NumPy arrays, lists and data sets are taken as the tensors that they hold; the rest is named."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from support import ANYTHING, refuses
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import pyro_vd
from pyro_vd import (
    BayesianNetwork,
    VariationalDropout,
    choose_threshold,
    compact,
    evaluate,
    fine_tune,
    fit,
    load_data,
    predict,
    surviving_units,
    to_inference_data,
)
from pyro_vd.compaction import compact_size, unit_counts
from pyro_vd.data import TensorBatches
from pyro_vd.evaluation import ood_metrics, risk_coverage
from pyro_vd.guides import PointEstimate
from pyro_vd.posterior import predictive
from pyro_vd.runtime import sparsify_runtime

X, Y = torch.randn(24, 4, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3
OPTIONS: dict[str, Any] = {"epochs": 1, "batch_size": 8, "progress": False}


class Pairs(Dataset[tuple[Tensor, int]]):
    """A data set of one's own, of examples."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index >= len(X):
            raise IndexError(index)
        return X[index], int(Y[index])


def trained(data: Any, validation: Any = None, dtype: torch.dtype = torch.float32) -> list[Any]:
    torch.manual_seed(0)
    model = BayesianNetwork(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)).to(dtype))
    guide = VariationalDropout(model)
    record = fit(guide, data, validation, **OPTIONS).history[0]
    return [record.loss, record.score, *(parameter.tolist() for parameter in guide.parameters())]


SAME: dict[str, Any] = {
    "arrays": (X.numpy(), Y.numpy()),
    "float64": (X.double().numpy(), Y.numpy().astype(np.int32)),
    "other bytes": (X.numpy().astype(">f8"), Y.numpy().astype(">i2")),
    "reversed twice": (X.flip(0).numpy()[::-1], Y.flip(0).numpy()[::-1]),
    "lists": (X.tolist(), Y.tolist()),
    "a list of both": [X.numpy(), Y],
    "TensorDataset": TensorDataset(X, Y),
    "examples": Pairs(),
    "with a gradient": (X.clone().requires_grad_(), Y),
    **{str(kind): (X, Y.to(kind)) for kind in (torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8)},
    **{kind: (X, Y.numpy().astype(kind)) for kind in ("uint16", "uint32", "uint64")},
}


@pytest.mark.parametrize("kind", SAME)
def test_the_same_training(kind: str) -> None:
    assert trained(SAME[kind], SAME[kind]) == trained((X, Y), (X, Y))


def test_arrays_come_in_the_network_s_type() -> None:
    assert trained((X.double().numpy(), Y), dtype=torch.float64) == trained((X.double(), Y), dtype=torch.float64)


def test_everywhere() -> None:
    model = BayesianNetwork(nn.Linear(4, 3))
    guide, net, arrays = VariationalDropout(model), nn.Linear(4, 3), (X.numpy(), Y.tolist())
    assert evaluate(net, arrays) == evaluate(net, (X, Y))
    assert torch.equal(predict(net, arrays[0]).log_p, predict(net, X).log_p)
    assert choose_threshold(guide, arrays, 1.0) == choose_threshold(guide, (X, Y), 1.0)
    assert predictive(guide, arrays[0], 2).shape == (24, 3)
    assert to_inference_data(guide, arrays, num_samples=2)["observed_data"]["y"].shape == (24,)
    assert len(fine_tune(net, arrays, arrays, **OPTIONS).history) == 1


def test_a_data_set_is_trained_on_in_its_training_part_and_measured_on_its_test_part() -> None:
    data = pyro_vd.Dataset("mine", X[:16].numpy(), Y[:16].numpy(), X[16:].numpy(), Y[16:].numpy())  # type: ignore[arg-type]
    assert trained(data) == trained((X[:16], Y[:16]))
    net, model = nn.Linear(4, 3), BayesianNetwork(nn.Linear(4, 3))
    guide = VariationalDropout(model)
    assert evaluate(net, data) == evaluate(net, data.test)
    assert torch.equal(predict(net, data).log_p, predict(net, X[16:]).log_p)
    assert to_inference_data(guide, data, num_samples=2)["observed_data"]["y"].shape == (8,)
    for use in (lambda: fit(guide, data, data, **OPTIONS), lambda: choose_threshold(guide, data)):
        with refuses("validation data", data, "Dataset", "split"):
            use()


def unusual() -> dict[str, tuple[Any, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "sparse": (X.to_sparse(), "torch.sparse_coo"),
            "rows": (X.to_sparse_csr(), "torch.sparse_csr"),
            "mkldnn": (X.to_mkldnn(), "torch._mkldnn") if torch.backends.mkldnn.is_available() else (1, "int"),
            "quantised": (torch.quantize_per_tensor(X, 0.1, 0, torch.qint8), "quantised"),
            "nested": (torch.nested.nested_tensor([X, X]), "nested"),
            "jagged": (torch.nested.nested_tensor([X, X], layout=torch.jagged), "nested"),
            "meta": (X.to("meta"), "meta"),
            "complex": (X.to(torch.complex64), "complex"),
            "complex array": (X.numpy().astype(complex), "complex128"),
            "float8": (X.to(torch.float8_e4m3fn), "torch.float8_e4m3fn"),
            "width 0": (X[:, :0], "(24, 0)"),
            "width 0 array": (X.numpy()[:, :0], "(24, 0)"),
            "none": (X[:0], "(0, 4)"),
            "masked": (np.ma.masked_array(X.numpy(), X.numpy() > 1), "masked"),
            "objects": (np.array([[object()]]), "object"),
            "texts": ([["a", "b"]], "<U1"),
            "ragged": ([[1.0], [1.0, 2.0]], "list"),
            "generator": ((row for row in X), "generator"),
        }


@pytest.mark.parametrize("kind", unusual())
def test_other_inputs_are_named(kind: str) -> None:
    x, mentioned = unusual()[kind]
    model, net = BayesianNetwork(nn.Linear(4, 3)), nn.Linear(4, 3)
    guide = VariationalDropout(model)
    uses: list[Callable[[], object]] = [
        lambda: fit(guide, (x, Y), **OPTIONS),
        lambda: evaluate(net, (x, Y)),
        lambda: predict(net, x),
        lambda: predict(guide, x),
        lambda: fine_tune(net, (x, Y), **OPTIONS),
    ]
    for use in uses:
        with refuses(ANYTHING, ANYTHING, mentioned):
            use()


def test_labels_beyond_int64_are_quoted() -> None:
    with refuses("training data, labels", 2**64 - 1, "2**63"):
        trained((X, np.full(24, 2**64 - 1, np.uint64)))


def of_logits(output: Tensor) -> dist.TorchDistribution:
    return dist.Categorical(logits=output[:, :2])


def of_numbers(output: Tensor) -> dist.TorchDistribution:
    return dist.Normal(output[:, 0], 1.0)


@pytest.mark.parametrize(
    ("y", "mentioned"),
    [
        (Y, ["label 2", "2 classes"]),
        (Y - 1, ["label -1"]),
        (Y[:, None] % 2, ["(24, 1)"]),
        ((Y % 2).float(), ["float32"]),
    ],
)
def test_labels_of_a_likelihood_that_is_a_function(y: Tensor, mentioned: list[str]) -> None:
    model = BayesianNetwork(nn.Linear(4, 3), of_logits)
    with refuses("training data", ANYTHING, *mentioned):
        fit(PointEstimate(model), (X, y), **OPTIONS)
    fit(PointEstimate(model), (X, Y % 2), **OPTIONS)


class Sets(BayesianNetwork):
    """Sets a function as its likelihood, as a model does whose function depends on what it draws."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        self.likelihood = of_numbers
        return super().forward(x, y)


def test_numbers_of_a_function_that_forward_sets_are_not_measured_outside_of_the_model() -> None:
    model = Sets(nn.Linear(4, 1), lambda output: of_numbers(output))
    model(torch.as_tensor(X))
    guide, data = VariationalDropout(model), (X, X[:, 0])
    assert fit(guide, data, **OPTIONS).history[0].loss > 0
    assert hasattr(evaluate(guide, data), "rmse"), "by draws of the model"
    uses: list[Callable[[], object]] = [
        lambda: fit(guide, data, data, **OPTIONS),
        lambda: choose_threshold(guide, data),
    ]
    for use in uses:
        with refuses(ANYTHING, ANYTHING, "likelihood", "Normal"):
            use()


def test_figures_and_examples() -> None:
    p, net = torch.rand(9, 3).softmax(-1), nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    assert torch.equal(risk_coverage(p.numpy(), Y[:9].tolist()), risk_coverage(p, Y[:9]))  # type: ignore[arg-type]
    assert ood_metrics(p[:, 0].numpy(), p[:, 1].tolist()) == ood_metrics(p[:, 0], p[:, 1])  # type: ignore[arg-type]
    assert compact_size(net, X.numpy()) == compact_size(net, X)  # type: ignore[arg-type]
    assert unit_counts(surviving_units(net, X.double().numpy())) == [4, 5]  # type: ignore[arg-type]
    for use in (lambda: compact(net, "x"), lambda: compact(3), lambda: sparsify_runtime(net, "3"), lambda: risk_coverage(p, Y)):
        with refuses():
            use()


def test_digits_as_a_whole() -> None:
    model = BayesianNetwork(nn.Linear(64, 10))
    fit(VariationalDropout(model), load_data("digits"), epochs=1, progress=False)
    assert model.num_data == 1437


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "channels last", "expanded"])
def test_batches_hold_the_chosen_examples_in_any_memory_layout(layout: str) -> None:
    x = {
        "contiguous": torch.rand(24, 3, 4, 5),
        "transposed": torch.rand(3, 24, 4, 5).transpose(0, 1),
        "channels last": torch.rand(24, 3, 4, 5).to(memory_format=torch.channels_last),
        "expanded": torch.rand(1, 3, 4, 5).expand(24, 3, 4, 5),
    }[layout]
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0)).split(10)
    batches = list(TensorBatches((x, Y > 1), {"class": Y}, 10).epoch(torch.Generator().manual_seed(0)))
    for (inputs, observed), places in zip(batches, order, strict=True):
        torch.testing.assert_close(inputs, (x[places], Y[places] > 1), rtol=0, atol=0, check_stride=True)
        assert torch.equal(observed["class"], Y[places])
