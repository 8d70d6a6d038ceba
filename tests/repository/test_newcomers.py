"""What somebody gets wrong in the first hour: the message says what to do instead."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import SMALL, refused, refuses, run_cli
from torch import Tensor, nn

import pyro_vd
from pyro_vd import (
    BayesianNetwork,
    KLWeight,
    VariationalDropout,
    compact,
    evaluate,
    fine_tune,
    fit,
    load_data,
    load_onnx,
    prune,
)
from pyro_vd.data import load_table
from pyro_vd.evaluation.guessing import looks_untrained
from pyro_vd.evaluation.standard_error import losses_by_example
from pyro_vd.models import Normal
from pyro_vd.networks import conv_classifier, mlp
from pyro_vd.workflow.tables import size_cells

DIGITS = load_data("digits")
X, Y = DIGITS.x_train, DIGITS.y_train
ONE: dict[str, Any] = {"epochs": 1, "progress": False}


def guide(net: nn.Module | None = None, **options: Any) -> VariationalDropout:
    torch.manual_seed(0)
    return VariationalDropout(BayesianNetwork(net or mlp([64, 12, 10])), **options)


@pytest.mark.parametrize("package", ["compaction", "data", "distributions", "guides", "models", "networks", "training"])
def test_a_name_that_is_in_a_package_is_pointed_to(package: str) -> None:
    found = getattr(pyro_vd, package)
    for name in sorted(set(found.__all__) - set(pyro_vd.__all__))[:5]:
        with pytest.raises(ImportError, match=f"it is in 'pyro_vd.{package}'"):
            exec(f"from pyro_vd import {name}")
        with pytest.raises(AttributeError, match=f"it is pyro_vd.{package}.{name}"):
            getattr(pyro_vd, name)
        assert not hasattr(pyro_vd, name)


def test_a_name_that_is_nowhere_is_no_more_than_unknown() -> None:
    with pytest.raises(ImportError, match="cannot import name 'Nothing' from 'pyro_vd'"):
        exec("from pyro_vd import Nothing")
    with pytest.raises(AttributeError, match=r"'pyro_vd' has no attribute 'Nothing'$"):
        pyro_vd.Nothing  # noqa: B018


def test_labels_from_1_on() -> None:
    with refuses("training data", 10, "from 1 to 10", "y - 1"):
        fit(guide(), (X, Y + 1), **ONE)
    with pytest.raises(pyro_vd.InputError) as caught:
        fit(guide(), (X, Y + 3), **ONE)
    assert "y - 1" not in str(caught.value)


@pytest.mark.parametrize("as_array", [False, True])
def test_images_of_bytes(as_array: bool) -> None:
    x: Any = (255 * X).to(torch.uint8)
    with refuses("training data", (64,), "uint8", "/ 255"):
        fit(guide(), (x.numpy() if as_array else x, Y), **ONE)


def test_probabilities_where_logits_are_taken(caplog: pytest.LogCaptureFixture) -> None:
    fit(guide(nn.Sequential(mlp([64, 12, 10]), nn.Softmax(1))), (X, Y), **ONE)
    assert caplog.text.count("leave out the network's last softmax".capitalize()) == 1
    caplog.clear()
    fit(guide(nn.Sequential(mlp([64, 12, 10]), nn.LogSoftmax(1))), (X, Y), **ONE)
    fit(guide(), (X, Y), **ONE)
    shares = nn.Sequential(mlp([64, 12, 2]), nn.Softmax(1))
    fit(VariationalDropout(BayesianNetwork(shares, Normal())), (X, X[:, :2]), **ONE)
    assert not caplog.records


@pytest.mark.parametrize("array", [X, X.numpy()], ids=["tensor", "array"])
def test_inputs_and_labels_as_two_arguments(array: Tensor | np.ndarray) -> None:
    with refuses("training data", array, "one argument, (x, y)"):
        fit(guide(), array, Y, **ONE)
    with refuses("training data", array, "one argument, (x, y)"):
        fine_tune(mlp([64, 12, 10]), array, Y, **ONE)
    with refuses("data", array, "one argument, (x, y)"):
        evaluate(mlp([64, 12, 10]), array)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        *(("learning_rate", "lr"), ("beta", "kl_weight"), ("num_epochs", "epochs")),
        *(("batchsize", "batch_size"), ("kl_wieght", "kl_weight"), ("LR", "lr")),
    ],
)
def test_misspelt_settings(given: str, meant: str) -> None:
    settings: dict[str, Any] = {given: 3}
    with refuses("setting", given, f"did you mean {meant!r}"):
        fit(guide(), (X, Y), **ONE, **settings)


def test_a_warm_up_without_the_name_of_its_end() -> None:
    with refuses("end", 0.0, "KLWeight(0.5, end=30)"):
        KLWeight(0.5, 30)
    with pytest.raises(pyro_vd.InputError) as caught:
        KLWeight(start=5, end=3)
    assert "KLWeight(" not in str(caught.value)


@pytest.mark.parametrize("test", [1.5, 30, -1, math.nan])
def test_the_test_part_of_a_table(test: float, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("x,y\n" + "".join(f"{n},{n % 2}\n" for n in range(30)))
    with refuses("test", test):
        load_table(path, "y", test=test)
    with refuses("test", 1.5, "share", "number of the 30 rows"):
        load_table(path, "y", test=1.5)
    assert len(load_table(path, "y", test=3.0).y_test) == 3


def test_a_resumed_training_is_not_made_longer(tmp_path: Path) -> None:
    fit(guide(), (X, Y), **ONE, checkpoint=tmp_path / "c.pt")
    with refuses(str(tmp_path / "c.pt"), {"epochs": 1}, "another fit", "begin again"):
        fit(guide(), (X, Y), epochs=2, progress=False, checkpoint=tmp_path / "c.pt", resume=True)
    with pytest.raises(pyro_vd.InputError) as caught:
        fit(guide(), (X, Y), **ONE, lr=0.5, checkpoint=tmp_path / "c.pt", resume=True)
    assert "another fit" not in str(caught.value)
    resumed = guide()
    fit(resumed, (X, Y), **ONE, checkpoint=tmp_path / "c.pt", resume=True)
    assert len(fit(resumed, (X, Y), epochs=2, progress=False, checkpoint=tmp_path / "d.pt").history) == 2, "as the message says"


def test_a_resumed_run_is_not_made_longer(tmp_path: Path) -> None:
    command = ("train", "digits", *SMALL, "--quiet", "--out", tmp_path / "run")
    code, _, errors = run_cli(*command)
    assert code == 0, errors
    refused(*command, "--resume", "--train.epochs=5", quoted=["train.epochs", "into another folder", "--out"])


def test_a_file_for_onnx_needs_no_example_of_a_linear_first_layer(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    net = mlp([64, 12, 10])
    pyro_vd.save_onnx(net, tmp_path / "net.onnx")
    torch.testing.assert_close(load_onnx(tmp_path / "net.onnx")(X), net(X), rtol=1e-5, atol=1e-5)
    with refuses("example", None):
        pyro_vd.save_onnx(conv_classifier((8, 8), 4, 4), tmp_path / "conv.onnx")


@pytest.mark.parametrize("everything", [True, False], ids=["all layers", "one layer"])
def test_a_training_that_removes_all_of_a_layer_names_the_knobs(everything: bool, caplog: pytest.LogCaptureFixture) -> None:
    of = guide()
    if everything:
        fit(of, (X, Y), epochs=30, lr=0.02, kl_weight=1e4, progress=False)
    else:
        with torch.no_grad():
            of.site("1.weight").log_sigma2.fill_(9)
        fit(of, (X, Y), **ONE, lr=1e-6)
    (record,) = caplog.records
    for part in ("no weight is left", "KLWeight(0.1, end=30)", "KLWeight(target=20)", "threshold"):
        assert part in record.getMessage()
    caplog.clear()
    prune(of)
    assert caplog.records[0].getMessage() == record.getMessage()


def test_a_run_says_once_that_everything_was_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    command = ("train", "digits", *SMALL, "--quiet", "--finetune.epochs=0", "--out", tmp_path)
    code, text, errors = run_cli(*command, "--train.kl_weight.value=100000", "--train.epochs=30", "--train.lr=0.03")
    assert code == 0, errors
    assert caplog.text.count("no weight is left of any layer") == 1
    assert "∞" in text
    assert "infx" not in text


def test_no_table_and_no_bar_says_infx(capfd: pytest.CaptureFixture[str]) -> None:
    size = {"compression": None, "prior_share": 0.5, "deployed": None}
    assert size_cells(size)[0] == "∞"
    of = guide()
    with torch.no_grad():
        for name in of.site_names:
            of.site(name).log_sigma2.fill_(9)
    fit(of, (X, Y), epochs=1, lr=1e-6)
    shown = capfd.readouterr().err
    assert " ∞ (" in shown
    assert "infx" not in shown


def test_a_network_that_guesses_though_each_layer_has_weights_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """What is left of the first layer makes a unit that the second layer does not read."""
    of = guide()
    with torch.no_grad():
        of.site("1.weight").log_sigma2[1:] = 9
        of.site("3.weight").log_sigma2[:, 0] = 9
    fit(of, (X, Y), **ONE, lr=1e-6)
    (record,) = caplog.records
    assert "the same for each of 16 examples" in record.getMessage()
    assert "threshold" in record.getMessage()
    caplog.clear()
    compact(prune(of))
    assert "too much was pruned" in caplog.text


def test_a_network_is_not_said_to_guess_where_the_examples_are_the_same(caplog: pytest.LogCaptureFixture) -> None:
    fit(guide(), (torch.ones(40, 64), Y[:40]), **ONE)
    assert not caplog.records


def test_networks_with_random_weights_guess() -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        net = mlp([64, 20, 10])
        assert looks_untrained(net, DIGITS.test, None, losses_by_example(net, DIGITS.test)) is not None, seed


def test_whether_a_network_has_learnt_is_told_by_inputs_that_are_dealt_out_anew() -> None:
    torch.manual_seed(0)
    x = torch.randn(300, 4)
    y = x[:, :1] + 0.5 * torch.randn(300, 1)
    good = nn.Linear(4, 1)
    with torch.no_grad():
        good.weight.copy_(torch.tensor([[1.0, 0, 0, 0]]))
        good.bias.zero_()
    for net, guesses in ((good, False), (nn.Sequential(nn.Linear(4, 1), nn.Threshold(9, 0.0)), True)):
        found = looks_untrained(net, (x, y), Normal(), losses_by_example(net, (x, y), Normal()))
        assert (found is not None) == guesses
    rare = torch.zeros(300, dtype=torch.int64)
    rare[:6] = 1
    always_0 = nn.Linear(4, 2)
    with torch.no_grad():
        always_0.weight.zero_()
        always_0.bias.copy_(torch.tensor([1.0, 0.0]))
    assert looks_untrained(always_0, (x, rare), None, losses_by_example(always_0, (x, rare))) is not None, "98 % are right"


def test_no_gradient_is_not_said_of_fine_tuning(caplog: pytest.LogCaptureFixture) -> None:
    net = mlp([64, 12, 10])
    with torch.no_grad():
        net[3].weight.zero_()
    with caplog.at_level(logging.WARNING):
        fine_tune(net, (X, Y), **ONE)
    assert not caplog.records


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with refuses("data", "house.csv", "there is no file or folder 'house.csv'"):
        load_data("house.csv")
    refused("report", tmp_path / "none", quoted=[str(tmp_path / "none"), "the folder of a run"])
