"""TensorBoard, MLflow and Weights & Biases get the numbers of every epoch; checked with their own local files."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_vd import VariationalDropout, fit
from pyro_vd.models import MLP
from pyro_vd.testing.interrupting import Interrupt
from pyro_vd.training import Callback, FitResult, MLflow, TensorBoard, WandB
from pyro_vd.training.trackers import numbers_of

X, Y = torch.randn(25, 4, generator=torch.Generator().manual_seed(0)), torch.arange(25) % 3
EPOCHS = 4
Histories = dict[str, list[tuple[int, float]]]
"""Epochs and values by name."""


def train(callbacks: list[Callback], **options: Any) -> tuple[FitResult, list[Tensor]]:
    torch.manual_seed(1)
    guide = VariationalDropout(MLP((4, 3)))
    result = fit(guide, (X, Y), (X, Y), epochs=EPOCHS, batch_size=10, progress=False, callbacks=callbacks, **options)
    return result, list(guide.parameters())


def expected(result: FitResult) -> Histories:
    names = numbers_of(result.history[0])
    assert {"loss", "kl", "lr", "compression", "validation_error", "sparse_bytes"} <= names.keys()
    return {name: [(record.epoch, numbers_of(record)[name]) for record in result.history] for name in names}


def check(found: Histories, result: FitResult) -> None:
    wanted = expected(result)
    assert found.keys() == wanted.keys()
    for name in wanted.keys() - {"seconds"}:
        assert found[name] == [(epoch, pytest.approx(value, rel=1e-6)) for epoch, value in wanted[name]], name


def interrupted(callback: Callback, again: Callback, folder: Path) -> FitResult:
    """A training that is stopped in its third epoch and goes on."""
    files: dict[str, Any] = {"checkpoint": folder / "c.pt", "resume": True}
    with pytest.raises(KeyboardInterrupt):
        train([callback, Interrupt(2)], **files)
    return train([again], **files)[0]


def of_tensorboard(folder: Path) -> Histories:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    result, parameters = train([TensorBoard(tmp_path / "events")])
    check(of_tensorboard(tmp_path / "events" / "train"), result)
    _, plain = train([])
    assert all(torch.equal(one, other) for one, other in zip(parameters, plain, strict=True)), "nothing random is drawn"


def test_tensorboard_resumed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    events = tmp_path / "events"
    result = interrupted(TensorBoard(events), TensorBoard(events), tmp_path)
    check(of_tensorboard(events / "train"), result)
    anew, _ = train([TensorBoard(events)], lr=0.1)
    check(of_tensorboard(events / "train"), anew)


def of_mlflow(uri: str, run_id: str | None) -> Histories:
    import mlflow

    assert run_id is not None
    client = mlflow.MlflowClient(uri)
    assert client.get_run(run_id).data.params["train/epochs"] == str(EPOCHS)
    names = client.get_run(run_id).data.metrics
    histories = {name: client.get_metric_history(run_id, name) for name in names}
    return {name.removeprefix("train/"): [(each.step, each.value) for each in each] for name, each in histories.items()}


@pytest.fixture
def uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of MLflow's, which needs no data base."""
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "mlruns").as_uri()


def status_of(uri: str, run_id: str | None) -> str:
    import mlflow

    status: str = mlflow.MlflowClient(uri).get_run(run_id).info.status
    return status


@pytest.mark.slow
def test_mlflow(uri: str) -> None:
    tracker = MLflow(experiment="trained", run_name="one", tracking_uri=uri)
    result, _ = train([tracker])
    check(of_mlflow(uri, tracker.run_id), result)
    assert status_of(uri, tracker.run_id) == "FINISHED"


@pytest.mark.slow
def test_mlflow_resumed(uri: str, tmp_path: Path) -> None:
    first = MLflow(tracking_uri=uri)
    files: dict[str, Any] = {"checkpoint": tmp_path / "c.pt", "resume": True}
    with pytest.raises(KeyboardInterrupt):
        train([first, Interrupt(2)], **files)
    assert status_of(uri, first.run_id) == "FAILED"
    result, _ = train([MLflow(first.run_id, tracking_uri=uri)], **files)
    check(of_mlflow(uri, first.run_id), result)


@pytest.mark.slow
def test_mlflow_in_an_active_run(uri: str) -> None:
    import mlflow

    mlflow.set_tracking_uri(uri)
    try:
        with mlflow.start_run() as run:
            result, _ = train([MLflow()])
            assert mlflow.active_run() is not None, "it is the caller's"
    finally:
        mlflow.set_tracking_uri(None)
    check(of_mlflow(uri, run.info.run_id), result)


def log_of(path: Path) -> Iterator[bytes]:
    """The records of a log of LevelDB, which an offline run writes: 7 bytes of a header, then blocks of 32 KiB."""
    content, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768  # no place for the start of a record
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        record += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or its last part
            yield record
            record = b""


def of_wandb(folder: Path) -> tuple[Histories, dict[str, Any]]:
    """What an offline run has written."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    found: Histories = {}
    config: dict[str, Any] = {}
    for content in log_of(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content)
        items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for name, value in items.items():
            if name.startswith("train/") and name != "train/epoch":
                found.setdefault(name.removeprefix("train/"), []).append((items["train/epoch"], value))
        config |= {item.key: json.loads(item.value_json) for item in [*record.config.update, *record.run.config.update]}
    return found, config


@pytest.mark.slow
def test_wandb_offline(tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb")
    result, _ = train([WandB(project="test", mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True))])
    assert wandb.run is None, "ended"
    wandb.teardown()  # its process writes the rest of the file
    found, config = of_wandb(tmp_path)
    check(found, result)
    assert config["train"]["epochs"] == str(EPOCHS)


def test_numbers_of_an_epoch_without_a_score() -> None:
    torch.manual_seed(1)
    record = fit(VariationalDropout(MLP((4, 3))), (X, Y), epochs=1, progress=False).history[0]
    assert not any("score" in name or "validation" in name for name in numbers_of(record))
    assert all(isinstance(value, int | float) and not math.isnan(value) for value in numbers_of(record).values())
