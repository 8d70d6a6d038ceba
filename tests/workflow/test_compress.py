"""``compress``: the target is met where the network is deployed, and nothing that was given is changed."""

from __future__ import annotations

import copy
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support import refuses
from torch import nn

from pyro_vd import CompressResult, compress, evaluate, load_data, load_onnx, load_pruned
from pyro_vd.evaluation.paired import mcnemar
from pyro_vd.models import Categorical, Normal
from pyro_vd.networks import mlp
from pyro_vd.training import Callback, TrainingState
from pyro_vd.workflow.compress_search import boundary

DIGITS = load_data("digits")
TRAIN, VALIDATION = DIGITS.split(300)
QUICK: dict[str, Any] = {"epochs": 40, "lr": 5e-3, "progress": False}


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    net = mlp([64, 60, 30, 10])
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(TRAIN[0]), TRAIN[1]).backward()
        optimizer.step()
    return net


def compressed(net: nn.Module, **options: Any) -> CompressResult:
    return compress(net, TRAIN, **{"validation": VALIDATION, "test": DIGITS.test, **QUICK, **options})


@pytest.mark.parametrize(("deploy", "target"), [("torch", 5), ("sparse", 8), pytest.param("onnx", 4, marks=pytest.mark.slow)])
def test_the_file_is_as_small_as_wanted_and_the_network_as_good(
    net: nn.Module, deploy: Any, target: float, tmp_path: Path
) -> None:
    before = copy.deepcopy(net.state_dict())
    net.train()
    generator = torch.get_rng_state()
    result = compressed(net, target=target, deploy=deploy)
    assert torch.equal(torch.get_rng_state(), generator)
    assert net.training
    assert all(parameter.grad is not None for parameter in net.parameters()), "those of its own training"
    torch.testing.assert_close(net.state_dict(), before, rtol=0, atol=0)

    path = tmp_path / ("net.onnx" if deploy == "onnx" else "net.safetensors")
    result.save(path)
    assert result.met
    assert path.stat().st_size <= 1.02 * result.before.bytes / target, "but for the info of the file"
    loaded = load_onnx(path) if deploy == "onnx" else load_pruned(path)
    torch.testing.assert_close(loaded(DIGITS.x_test), result.network(DIGITS.x_test), rtol=1e-4, atol=1e-4)
    assert result.losses_after.score.value == pytest.approx(evaluate(loaded, DIGITS.test).score.value)
    assert result.losses_after.score.value < result.losses_before.score.value + 0.03

    wrong = [model(DIGITS.x_test).argmax(1) != DIGITS.y_test for model in (net.eval(), result.network)]
    newly = int((wrong[1] & ~wrong[0]).sum()), int((wrong[0] & ~wrong[1]).sum())
    assert (result.test.only_after, result.test.only_before) == newly
    assert result.test.p_value == mcnemar(*newly)
    text = str(result)
    shown = {f"{result.after.bytes:,}", f"{result.before.parameters:,}", f"{result.after.flops:,}", "test data", "PyTorch"}
    assert all(part in text for part in shown)
    result.report(page := tmp_path / "net.html")
    assert all(part in page.read_text() for part in shown)


def test_the_names_of_files_say_their_formats(net: nn.Module, tmp_path: Path) -> None:
    result = compressed(net, target=1.1, deploy="torch", epochs=1)
    for name in ("x.pt", "x", "x.bin"):
        with refuses("path", str(tmp_path / name), ".onnx, .pt2, .safetensors"):
            result.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_the_bar_shows_no_size_that_is_not_that_of_the_file(net: nn.Module, capfd: pytest.CaptureFixture[str]) -> None:
    result = compressed(net, target=1.1, deploy="torch", epochs=1, progress=True)
    shown = capfd.readouterr().err
    assert "1.1x" in shown
    assert "epoch 1 loss" in shown
    assert "left" not in shown
    assert "kB" not in shown
    assert not result.tried(), "one size is no search"


def test_a_network_that_guesses_is_said_to_be_untrained(net: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(1)
    result = compressed(mlp([64, 20, 10]), target=1.1, deploy="torch", epochs=1)
    assert "hardly better than by guessing" in caplog.text
    assert any("hardly better than by guessing" in sentence for sentence in result.said)
    caplog.clear()
    compressed(net, target=1.1, deploy="torch", epochs=1)
    assert "guessing" not in caplog.text


def test_inputs_and_labels_as_two_arguments_are_told_from_data_and_validation(net: nn.Module) -> None:
    with refuses("training data", TRAIN[0], "(x, y)"):
        compress(net, TRAIN[0], TRAIN[1], target=2, deploy="torch")


class InterruptPhase(Callback):
    """Raises KeyboardInterrupt, as Ctrl-C does, after the first step of the third epoch of a phase."""

    def __init__(self, phase: str) -> None:
        self._phase = phase

    def on_step(self, state: TrainingState) -> None:
        if state.spec.phase == self._phase and state.epoch == 2:
            raise KeyboardInterrupt


def test_a_compression_that_was_interrupted_is_resumed_bit_for_bit(net: nn.Module, tmp_path: Path) -> None:
    options: dict[str, Any] = {"target": 5, "deploy": "torch", "epochs": 10}
    expected = compressed(net, **options).network.state_dict()
    for phase in ("5x", "5x, finetune"):
        torch.manual_seed(99)
        with pytest.raises(KeyboardInterrupt):
            compressed(net, **options, folder=tmp_path, resume=True, callbacks=[InterruptPhase(phase)])
    for _ in range(2):  # the second one trains nothing
        resumed = compressed(net, **options, folder=tmp_path, resume=True).network.state_dict()
        torch.testing.assert_close(resumed, expected, rtol=0, atol=0)
    with refuses(str(tmp_path / "5x-train.pt")):
        compressed(net, **{**options, "lr": 1e-4}, folder=tmp_path, resume=True)
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[-1].bias[0] += 1
    for given, change in ((other, {}), (net, {"seed": 1}), (net, {"deploy": "sparse"})):
        with refuses("folder"):
            compressed(given, **{**options, **change}, folder=tmp_path, resume=True)


@pytest.mark.slow
def test_a_convolutional_network_and_data_that_come_in_batches() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Unflatten(1, (1, 8)), nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(256, 10)),
    )
    images = TRAIN[0].reshape(-1, 8, 8), TRAIN[1]
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images[0]), images[1]).backward()
        optimizer.step()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*images), 100, shuffle=True)
    held_out = VALIDATION[0].reshape(-1, 8, 8), VALIDATION[1]
    result = compress(net, loader, validation=held_out, target=3, deploy="torch", **QUICK)
    assert result.met
    assert result.before.flops > 2 * result.after.flops
    assert result.losses_after.score.value < result.losses_before.score.value + 0.05


def test_an_unreachable_target_ends_with_the_best_and_a_sentence(net: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        result = compressed(net, target=500, deploy="torch")
    assert "500 times fewer bytes are out of reach" in caplog.text
    assert not result.met
    assert result.smaller > 1
    assert "500" in result.notes[0]
    assert "the compression is" not in caplog.text, "of the target of the training, which is another one"
    said = [*(record.getMessage() for record in caplog.records), *str(result).splitlines()]
    assert len(said) == len(set(said)), "each thing once"
    assert f"{result.smaller:.1f}" in result.notes[0]
    assert len(set(result.network(DIGITS.x_test).argmax(1).tolist())) > 5, "no constant predictor"
    assert result.losses_after.score.value < 0.6, "of 10 classes, 0.9 by chance"
    assert any("validation error rose" in note for note in result.notes)


def test_double_precision_is_compressed_as_well_as_single(net: nn.Module) -> None:
    given = [(x.double(), y) for x, y in (TRAIN, VALIDATION)]
    double = copy.deepcopy(net).double()
    result = compress(double, given[0], validation=given[1], target=5, deploy="torch", **QUICK)
    assert result.met
    assert result.losses_after.score.value < result.losses_before.score.value + 0.05


@pytest.mark.parametrize("deploy", ["torch", "sparse"])
def test_units_that_were_removed_before_are_no_gain(net: nn.Module, deploy: Any) -> None:
    pruned = copy.deepcopy(net)
    with torch.no_grad():
        for part in pruned[1].parameters():
            part[20:] = 0
        pruned[3].weight[:, 20:] = 0
    before = compressed(pruned, target=1.1, deploy=deploy, epochs=1).before
    assert before.parameters == (64 * 20 + 20) + (20 * 30 + 30) + (30 * 10 + 10)
    assert before.flops < 2 * before.parameters
    assert before.bytes < 4 * before.parameters + 6_000


class WithTable(nn.Module):
    """A network that adds an entry of a large table, which is no parameter."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("table", torch.zeros(50_000, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.net(x) + self.table[0]
        return output


@pytest.mark.parametrize("deploy", ["torch", "sparse"])
def test_a_buffer_that_is_larger_than_the_wanted_file_leaves_weights(net: nn.Module, deploy: Any) -> None:
    result = compressed(WithTable(copy.deepcopy(net)), target=8, deploy=deploy, epochs=4)
    assert not result.met
    assert (result.network(DIGITS.x_test).std(0) > 1e-3).any(), "no constant predictor"


@pytest.mark.slow
def test_as_much_compression_as_the_error_allows(net: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    loose = compressed(net, target="max", max_error_rise=0.05, deploy="sparse", test=None)
    assert not caplog.records, "nothing is said of the single trainings"
    (taken,) = [each for each in loose.attempts if each.is_taken]
    assert (taken.smaller, taken.size, taken.score) == (loose.smaller, loose.after, loose.losses_after.score)
    targets = [each.target for each in loose.attempts]
    assert len(targets) >= 4
    assert targets == sorted(targets)
    for each in loose.attempts:
        assert f"{each.target:.3g}x" in str(loose)
        assert each.score.cell() in str(loose)
    assert loose.met
    assert loose.losses_after.score.value <= loose.losses_before.score.value + 0.05
    assert "validation" in loose.measured_on
    strict = compressed(net, target="max", max_error_rise=0.0, deploy="sparse", epochs=1, lr=1e-5, test=None)
    assert strict.smaller < loose.smaller


@pytest.mark.slow
def test_a_latency_as_the_target(net: nn.Module) -> None:
    found = compressed(net, target_latency=10.0, deploy="torch", epochs=4)
    assert found.met
    impossible = compressed(net, target_latency=1e-9, deploy="torch", epochs=1)
    assert not impossible.met
    assert "1e-09" in impossible.notes[0]
    assert f"{impossible.seconds['PyTorch'][1]:.3g} s is" in impossible.notes[0], "one measurement"


@pytest.mark.parametrize("change", [1.5, 5.0, 9.0, 1e9])
def test_the_boundary_is_between_what_was_tried(change: float) -> None:
    class At:
        def __init__(self, target: float) -> None:
            self.target = target

    tried: list[float] = []

    def try_at(target: float) -> At:
        tried.append(target)
        return At(target)

    before, after = boundary(try_at, lambda each: each.target >= change)
    assert len(tried) == len(set(tried))
    assert before is None or before.target < change
    assert after is None or after.target >= change
    assert max([each for each in tried if each < change], default=None) == (before and before.target)
    assert min([each for each in tried if each >= change], default=None) == (after and after.target)
    if before is not None and after is not None and before.target >= 4:
        assert after.target / before.target == pytest.approx(2**0.25)


def test_validation_data_are_split_off_and_said_to_be_too_few(
    net: nn.Module, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.WARNING):
        result = compress(net, DIGITS, target=2, deploy="torch", **{**QUICK, "epochs": 1})
    said = caplog.text
    assert len(result.said) == 2, "the split, and that it is small"
    for sentence in result.said:
        assert said.count(sentence) == 1
        assert sentence not in str(result)
    assert f"{round(len(DIGITS.y_train) / 6)} of the {len(DIGITS.y_train):,} training examples" in result.said[0]
    assert "max_error_rise" in result.said[1]
    result.report(page := tmp_path / "net.html")
    assert all(sentence in page.read_text() for sentence in result.said)
    assert len(result.losses_after.sums) == len(DIGITS.y_test), "of a Dataset, the test data are for the table"
    assert result.measured_on == "test data"


def test_numbers_are_compared_by_their_losses() -> None:
    torch.manual_seed(0)
    x = torch.randn(600, 8)
    y = x[:, :1] - x[:, 1:2] + 0.1 * torch.randn(600, 1)
    net = mlp([8, 100, 50, 1])
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.mse_loss(net(x[:400]), y[:400]).backward()
        optimizer.step()
    data: dict[str, Any] = {"validation": (x[400:], y[400:]), "likelihood": Normal()}
    result = compress(net, (x[:400], y[:400]), target=3, deploy="sparse", **data, **{**QUICK, "epochs": 60})
    low, high = result.losses_after.interval
    assert low < result.losses_after.score.value < high
    assert result.losses_after.score.value < 0.3
    assert result.test.only_after is None
    assert "RMSE" in str(result)


class TwoHeads(nn.Module):
    """A class and a number of the same input."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.kind, self.size = nn.Linear(8, 40), nn.Linear(40, 3), nn.Linear(40, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.body(x).relu()
        return {"kind": self.kind(hidden), "size": self.size(hidden)}


def test_losses_after_are_those_of_the_likelihood_that_was_trained() -> None:
    """Of two heads the score is a log-likelihood, and the σ of the number is learnt."""
    torch.manual_seed(0)
    x = torch.randn(600, 8)
    y = {"kind": x[:, :3].argmax(1), "size": x[:, :1] + 0.1 * torch.randn(600, 1)}
    train, held = ((x[part], {name: each[part] for name, each in y.items()}) for part in (slice(400), slice(400, 600)))
    likelihood = {"kind": Categorical(), "size": Normal()}
    options: dict[str, Any] = {"deploy": "sparse", "target": 1.5, **QUICK, "epochs": 10}
    result = compress(TwoHeads(), train, validation=held, likelihood=likelihood, **options)  # type: ignore[arg-type]
    expected = evaluate(result.network, held, likelihood=result.likelihood)
    assert result.losses_after.score.value == pytest.approx(expected.score.value, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({}, "target", None),
        ({"target": 5, "target_latency": 1.0}, "target", 5),
        ({"target": 1}, "target", 1),
        ({"target": "most"}, "target", "most"),
        ({"target": math.nan}, "target", math.nan),
        ({"target_latency": 0}, "target_latency", 0),
        ({"target": 5, "deploy": "tensorrt"}, "deploy", "tensorrt"),
        ({"target": 5, "max_error_rise": 2}, "max_error_rise", 2),
        ({"target": 5, "resume": True}, "resume", True),
        ({"target": 5, "epochs": 0}, "epochs", 0),
        ({"target": 5, "lr": -1}, "lr", -1),
        ({"target": 5, "device": "nope"}, "device", "nope"),
        ({"target": 5, "callbacks": None}, "callbacks", None),
        ({"target": 5, "callbacks": [3]}, "callbacks", [3]),
    ],
)
def test_bad_arguments_are_refused(net: nn.Module, options: dict[str, Any], name: str, value: object) -> None:
    with refuses(name, value):
        compressed(net, **{"deploy": "torch", **options})


def test_a_network_with_hooks_and_a_loader_without_validation_are_refused(net: nn.Module) -> None:
    hooked = copy.deepcopy(net)
    hooked.register_forward_hook(lambda *_: None)
    with refuses():
        compressed(hooked, target=5)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*TRAIN), 100)
    with refuses("validation", None):
        compress(net, loader, target=5, deploy="torch", **QUICK)
