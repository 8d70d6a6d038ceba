"""The training loop: schedules are followed, the data term is that of all data, what is reported is true."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pyro
import pytest
import torch
from support import ANYTHING, refuses
from torch import nn

from pyro_vd import BayesianNetwork, InputError, KLWeight, VariationalDropout, evaluate, fit, posterior_mean, prune
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.evaluation.score import score_of
from pyro_vd.guides import PointEstimate
from pyro_vd.models import MLP
from pyro_vd.networks.sizes import compression
from pyro_vd.training import LRSchedule, MetricsLog
from pyro_vd.training.placing import placed

X, Y = torch.randn(60, 6, generator=torch.Generator().manual_seed(0)), torch.arange(60) % 3
TRAIN, HELD = (X[:40], Y[:40]), (X[40:], Y[40:])
OPTIONS: dict[str, Any] = {"epochs": 5, "batch_size": 10, "lr": 0.01, "progress": False}


def pair(log_sigma2: float = -8.0) -> tuple[MLP, VariationalDropout]:
    model = MLP((6, 8, 3))
    return model, VariationalDropout(model, log_sigma2)


def test_schedules_are_followed() -> None:
    """Both are asked anew at every step; the log holds the value at the last step of four, at 0.75 into the epoch."""
    kl_weight, lr_schedule = KLWeight(0.8, 1, 3), LRSchedule("linear", after=0.5)
    options = {**OPTIONS, "kl_weight": kl_weight, "lr_schedule": lr_schedule}
    history = fit(pair()[1], TRAIN, **options).history
    assert [record.kl_weight for record in history] == pytest.approx([0, 0.3, 0.7, 0.8, 0.8])
    assert [record.lr / 0.01 for record in history] == pytest.approx([1, 1, 0.9, 0.5, 0.1])
    for record in (history[0], history[3], history[4]):  # those whose β does not change
        assert record.loss == pytest.approx(record.data_term + record.kl_weight * record.kl, rel=1e-5)
    assert history[0].kl > 0, "reported, though not yet in the loss"


def test_weights_move_by_the_learning_rate() -> None:
    """Adam's first step is lr for every weight, whatever the gradient: a rate of 0 after the first epoch changes no more."""
    _model, guide = pair()
    before = guide.site("1.weight").theta.detach().clone()
    steps = LRSchedule("steps", steps={1: 1e-12})
    fit(guide, TRAIN, epochs=3, batch_size=40, lr=0.01, lr_schedule=steps, progress=False)
    moved = (guide.site("1.weight").theta - before).abs()
    assert moved.max().item() == pytest.approx(0.01, rel=1e-2)
    assert moved.median().item() == pytest.approx(0.01, rel=1e-2)


def test_kl_weight_acts_on_the_parameters() -> None:
    trained = []
    for weight in (0.0, 5.0):
        torch.manual_seed(0)
        _model, guide = pair()
        fit(guide, TRAIN, **{**OPTIONS, "epochs": 30, "lr": 0.05}, kl_weight=KLWeight(weight))
        trained.append(guide.site("1.weight").log_sigma2.mean().item())
    assert trained[1] > trained[0] + 1, "the KL alone rewards noise"


def test_data_term_is_that_of_all_data() -> None:
    """At a rate of next to nothing and no noise to speak of, every batch size gives the network's own −Σ log p."""
    model, guide = pair(-40)
    nll = len(X) * evaluate(posterior_mean(guide), (X, Y)).nll
    for batch_size in (60, 20, 7, 1):
        history = fit(guide, (X, Y), epochs=1, batch_size=batch_size, lr=1e-12, progress=False).history
        assert history[0].data_term == pytest.approx(nll, rel=0.02 if batch_size == 7 else 1e-3)
    assert model.num_data == 60


def test_records_are_true_and_finite(tmp_path: Path) -> None:
    _model, guide = pair()
    result = fit(guide, TRAIN, HELD, **OPTIONS, callbacks=[MetricsLog(tmp_path / "log")])
    net = prune(guide)
    last = result.history[-1]
    assert (last.score, last.compression) == (score_of(net, HELD).value, compression(net))
    assert [record.epoch for record in result.history] == [1, 2, 3, 4, 5]
    for record in result.history:
        values = [getattr(record, field.name) for field in fields(EpochRecord) if field.name not in ("phase", "score_name")]
        assert all(math.isfinite(value) for value in values)
        assert record.seconds > 0
    lines = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [asdict(record) for record in result.history]
    assert fit(pair()[1], TRAIN, **OPTIONS).history[0].score is None


def test_log_keeps_other_phases_and_is_json(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fit(pair()[1], TRAIN, **OPTIONS, callbacks=[MetricsLog(log)], phase="pretrain")
    first = log.read_text()
    fit(pair()[1], TRAIN, **OPTIONS, callbacks=[MetricsLog(log)], phase="train")
    fit(pair()[1], TRAIN, **{**OPTIONS, "epochs": 2}, callbacks=[MetricsLog(log)], phase="train")
    assert log.read_text().startswith(first)
    assert [json.loads(line)["phase"] for line in log.read_text().splitlines()] == ["pretrain"] * 5 + ["train"] * 2
    _model, guide = pair(0.0)
    with torch.no_grad():
        for name in guide.site_names:
            guide.site(name).theta.zero_()
    fit(guide, TRAIN, epochs=1, lr=1e-12, callbacks=[MetricsLog(log)], phase="nothing left", progress=False)
    line = json.loads(log.read_text().splitlines()[-1], parse_constant=pytest.fail)
    assert line["compression"] is None, "no weight is left: infinite, which JSON does not have"
    log.write_text("not ours\n")
    with refuses(str(log)):
        fit(pair()[1], TRAIN, **OPTIONS, callbacks=[MetricsLog(log)])
    assert log.read_text() == "not ours\n"


def test_starts_from_a_trained_network_and_trains_on() -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    model = BayesianNetwork(net)
    guide = PointEstimate(model)
    fit(guide, TRAIN, **{**OPTIONS, "epochs": 100})
    trained = posterior_mean(guide)
    again = BayesianNetwork(trained)
    noisy = VariationalDropout(again, -12)
    for name in noisy.site_names:
        assert torch.equal(noisy.site(name).theta, trained.get_parameter(name))
    loss = [evaluate(network, TRAIN).nll for network in (net, trained)]
    assert loss[1] < 0.8 * loss[0]
    history = fit(noisy, TRAIN, epochs=1, batch_size=40, lr=1e-12, progress=False).history
    assert history[0].data_term == pytest.approx(40 * loss[1], rel=0.05)


def test_pyros_parameter_store_is_left_alone() -> None:
    mine = pyro.param("mine", torch.tensor(3.0))
    _model, guide = pair()
    fit(guide, TRAIN, **OPTIONS)
    assert list(pyro.get_param_store().keys()) == ["mine"]
    assert pyro.param("mine") is mine
    fit(guide, TRAIN, **OPTIONS)


def test_same_seed_same_result() -> None:
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        trained = pair()
        torch.manual_seed(seed)
        fit(trained[1], TRAIN, **OPTIONS)
        results.append([tensor.tolist() for module in trained for tensor in module.state_dict().values()])
    assert results[0] == results[1] != results[2]


def test_a_refused_training_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    """Also where it is refused late: for its files, by a callback, or in the try of a batch."""
    model, guide = pair()
    fit(guide, TRAIN, **OPTIONS)
    (tmp_path / "log").write_text("not ours\n")
    for options, said in (
        ({"checkpoint": tmp_path / "none" / "c.pt"}, tmp_path / "none" / "c.pt"),
        ({"callbacks": [MetricsLog(tmp_path / "log")]}, tmp_path / "log"),
    ):
        with refuses(ANYTHING, ANYTHING, said):
            fit(guide, HELD, **OPTIONS, **options)
        assert model.num_data == len(TRAIN[0])
    normed = BayesianNetwork(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), num_data=7)
    with refuses("training data", 1, "batch_size (=10)", "BatchNorm1d"):
        fit(PointEstimate(normed), (X[:11], Y[:11]), **OPTIONS)
    assert normed.num_data == 7


def test_what_was_moved_is_moved_back() -> None:
    model, guide = pair()
    before = [(tensor, tensor.detach().clone()) for tensor in (*model.parameters(), *model.buffers(), *guide.parameters())]

    def refuse() -> None:
        with placed(guide, torch.device("meta"), 5, 2.0):
            assert model.num_data == 5
            assert all(tensor.is_meta for tensor in (*model.parameters(), *model.buffers(), *guide.parameters()))
            raise InputError("refused", name="refused")

    with refuses("refused"):
        refuse()
    after = (*model.parameters(), *model.buffers(), *guide.parameters())
    assert all(new is old and torch.equal(new, value) for new, (old, value) in zip(after, before, strict=True))
    assert model.num_data is None
