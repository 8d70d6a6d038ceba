"""Tables, logs and progress lines say the sizes, and what is not counted in them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from compaction_support import prune_at_random
from size_support import Bare, Branching, Recurrent
from support import refuses
from torch import nn

from pyro_vd import (
    BayesianNetwork,
    VariationalDropout,
    choose_threshold,
    compact,
    evaluate,
    fit,
    posterior_mean,
    prune,
    surviving_units,
)
from pyro_vd._core.storage import as_json
from pyro_vd.evaluation.deployed import deployed_size, stored_size
from pyro_vd.guides import PointEstimate
from pyro_vd.models import Normal
from pyro_vd.networks.sizes import compression
from pyro_vd.training import MetricsLog
from pyro_vd.training.progress import Progress
from pyro_vd.workflow.tables import print_networks


def test_regression_and_threshold_choice_say_it_too() -> None:
    model = BayesianNetwork(Bare(), Normal())
    guide = VariationalDropout(model, log_sigma2=-3.0)
    data = torch.randn(9, 5), torch.randn(9, 3)
    metrics = evaluate(guide, data)
    assert 0 < metrics.prior_share < 1
    assert metrics.deployed == deployed_size(posterior_mean(guide), data[0])
    choice = choose_threshold(guide, data, max_error_rise=1.0, candidates=[0.0, 3.0])
    for trial in choice.trials:
        net = prune(guide, trial.threshold)
        assert (trial.nonzero_parameters, trial.sparse_bytes) == tuple(asdict(stored_size(net)).values())
        assert trial.compression == compression(net, model.weight_names)
    assert "sparse_bytes" in repr(choice)


def test_the_log_of_a_training_says_it(tmp_path: Path) -> None:
    model = BayesianNetwork(Recurrent(), exclude=["rows.*"])
    guide = VariationalDropout(model, log_sigma2=-3.0)
    data = torch.randn(20, 4, 12), torch.arange(20) % 3
    record = fit(guide, data, epochs=1, progress=False, callbacks=[MetricsLog(tmp_path / "log")]).history[-1]
    net = prune(guide)
    assert record.compression == compression(net, model.weight_names) < 1.02
    assert (record.nonzero_parameters, record.sparse_bytes) == tuple(asdict(stored_size(net)).values())
    line: dict[str, Any] = json.loads((tmp_path / "log").read_text())
    assert (line["nonzero_parameters"], line["sparse_bytes"]) == (record.nonzero_parameters, record.sparse_bytes)


def test_tables_say_what_is_not_compacted_and_what_has_no_prior(capsys: pytest.CaptureFixture[str]) -> None:
    data = torch.randn(6, 5), torch.arange(6) % 3
    prune_at_random(cannot := Branching())
    measured = {"cannot": evaluate(cannot, data), "bare": evaluate(Bare(), data)}
    print_networks("title", json.loads(as_json({name: asdict(metrics) for name, metrics in measured.items()})))
    out = capsys.readouterr().out
    assert "Note: cannot is counted as it is, not compacted: Branching is left whole" in out
    assert "Note: bare" not in out
    row = next(line.split() for line in out.splitlines() if line.strip().startswith("bare") and "x" in line)
    deployed = measured["bare"].deployed
    assert deployed is not None
    assert row[1:] == ["1.0x", "53.0", "66", str(deployed.bytes), str(deployed.sparse_bytes), "0.0", "(0.0)"]


def test_the_progress_line_says_parameters_and_bytes(capfd: pytest.CaptureFixture[str]) -> None:
    model = BayesianNetwork(Bare())
    (record,) = fit(PointEstimate(model), (torch.randn(9, 5), torch.arange(9) % 3), epochs=1, progress=False).history
    with Progress("train", 0, 1, True) as bar:
        bar._last_line = -math.inf  # a line is due
        bar.epoch(record)
    assert f"1.0x (66 left, {record.sparse_bytes / 1000:.1f} kB)" in " ".join(capfd.readouterr().err.split())


@pytest.mark.parametrize("function", [compact, surviving_units])
def test_messages_name_no_function_that_was_not_called(function: Callable[[nn.Module], object]) -> None:
    """What it lacks is an argument of the same name in either."""
    with refuses("example", None, "Sequential") as error:
        function(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()))
    assert "compact(" not in str(error.value)
