"""Frames are the pruned network at the moments they say, cost the training nothing but time, and survive being killed."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import ANYTHING, SMALL, EachStep, contents, refused, refuses, run_cli
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, fit, load_run, prune
from pyro_vd.evaluation.deployed import stored_size
from pyro_vd.evaluation.score import score_of
from pyro_vd.guides import PointEstimate
from pyro_vd.networks.layers import named_weights
from pyro_vd.networks.ready import mlp
from pyro_vd.networks.sizes import compression
from pyro_vd.training import Callback, FrameRecorder
from pyro_vd.training.frame_files import SCALE, frame_of, read_frames, write_frames
from pyro_vd.training.frames import EXAMPLES

DATA = torch.rand(70, 6, generator=torch.Generator().manual_seed(0)), torch.arange(70) % 3
LONGER = (*SMALL, "--train.frames=3", "--train.epochs=12")


def recorded_of(net: nn.Module) -> dict[str, np.ndarray]:
    """Rounded to 1/127, cut to ±1, and nothing but zero becomes zero: a weight at a time."""
    values = {}
    for name, weight in named_weights(net):
        rounded = [
            max(1, round(min(1.0, abs(w)) * SCALE)) * (1 if w > 0 else -1) if w else 0 for w in weight.flatten().tolist()
        ]
        values[name] = np.array(rounded, np.int8).reshape(weight.shape)
    return values


def trained(folder: Path | None, an_epoch: int = 3, **options: Any) -> tuple[nn.Module, list[tuple[float, nn.Module]]]:
    """A short training of 7 steps per epoch; also the network after every step."""
    torch.manual_seed(1)
    model = BayesianNetwork(mlp([6, 8, 3]))
    guide = VariationalDropout(model, log_sigma2=-3.0)
    seen = [(0.0, prune(guide, 1.0))]
    callbacks: list[Callback] = [EachStep(lambda state: seen.append((state.now, prune(guide, 1.0))))]
    if folder:
        callbacks.append(FrameRecorder(folder, an_epoch, DATA, "training"))
    options = {"epochs": 4, "batch_size": 10, "lr": 0.1, "kl_weight": 0.1, "rule": 1.0, "progress": False, **options}
    fit(guide, DATA, callbacks=callbacks, **options)
    return prune(guide, 1.0), seen


def record(folder: Path, net: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    """One frame, of a network that is not trained."""
    folder.mkdir(exist_ok=True)
    write_frames(folder, 0, [frame_of(net, 0.0, data, None, "training")])


@pytest.mark.parametrize(("an_epoch", "steps"), [(1, [7]), (3, [3, 5, 7]), (7, range(1, 8)), (10, range(1, 8))])
def test_frames_are_the_network_as_it_was(tmp_path: Path, an_epoch: int, steps: list[int]) -> None:
    _, seen = trained(tmp_path, an_epoch)
    frames = read_frames(tmp_path)
    moments = [0, *(7 * epoch + step for epoch in range(4) for step in steps)]
    assert len(frames) == len(moments)
    assert frames.measured_on == "70 training examples"
    assert frames.epoch.tolist() == [seen[moment][0] for moment in moments]
    for index, moment in enumerate(moments):
        net = seen[moment][1]
        for name, expected in recorded_of(net).items():
            assert (frames.weights[name][index] == expected).all()
        assert frames.score[index] == pytest.approx(score_of(net, DATA).value)
        assert frames.compression(index) == compression(net)
    assert 1 < frames.compression(len(frames) - 1) < np.inf, "something is pruned, so that there is something to see"


def test_weights_at_the_edges_of_the_scale(tmp_path: Path) -> None:
    net = nn.Linear(7, 1)
    with torch.no_grad():
        net.weight[:] = torch.tensor([[0.0, 1e-20, -1e-20, 0.5, -1.0, 7.0, -7.0]])
    record(tmp_path, net, (torch.zeros(3, 7), torch.zeros(3, dtype=torch.long)))
    frames = read_frames(tmp_path)
    assert frames.weights["weight"].tolist() == [[[0, 1, -1, 64, -127, 127, -127]]]
    assert (frames.left(0), frames.compression(0)) == ([6], 7 / 6)


class _Table(nn.Module):
    """A layer of no registered kind, whose weight is counted and not shown."""

    def __init__(self) -> None:
        super().__init__()
        self.entries = nn.Parameter(torch.randn(10, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.entries[x]


def test_a_frame_counts_every_weight_and_the_bytes_of_the_file(tmp_path: Path) -> None:
    net = nn.Sequential(_Table(), nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        net[2].weight[0] = 0
    data = torch.randint(10, (5, 3)), torch.arange(5) % 2
    record(tmp_path, net, data)
    frames = read_frames(tmp_path)
    assert frames.sizes is not None
    assert frames.compression(0) == compression(net) == (40 + 24) / (40 + 12)
    assert frames.sizes[0, 2] == stored_size(net).sparse_bytes
    earlier = replace(frames, sizes=None)
    assert earlier.compression(0) == 2, "an earlier version recorded the weights that are shown alone"


def test_only_so_many_examples_are_measured(tmp_path: Path) -> None:
    x, y = torch.zeros(2 * EXAMPLES, 2), torch.arange(2 * EXAMPLES) // EXAMPLES
    net = nn.Linear(2, 2)
    with torch.no_grad():
        net.bias[:] = torch.tensor([1.0, 0.0])  # right for the first half, wrong for the second
    recorder = FrameRecorder(tmp_path, 1, (x, y), "validation")
    fit(PointEstimate(BayesianNetwork(net)), (x, y), epochs=1, lr=1e-12, callbacks=[recorder], progress=False)
    assert read_frames(tmp_path).score.tolist() == [0.0, 0.0]
    assert read_frames(tmp_path).measured_on == "500 validation examples"


def test_recording_changes_no_training(tmp_path: Path) -> None:
    plain, recorded = trained(None)[0], trained(tmp_path)[0]
    for (name, weight), (_, other) in zip(named_weights(plain), named_weights(recorded), strict=True):
        assert torch.equal(weight, other), name


def test_frames_of_a_run_agree_with_its_log(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert run_cli("train", "digits", *LONGER, "--out", run, "--quiet")[0] == 0
    frames = read_frames(run / "frames")
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    epochs = [line for line in log if line["phase"] == "train"]
    assert len(frames) == 1 + 3 * len(epochs)
    assert frames.measured_on == "100 validation examples"
    for index, line in zip(range(3, len(frames), 3), epochs, strict=True):
        assert frames.epoch[index] == line["epoch"]
        assert frames.score[index] == pytest.approx(line["score"])
        assert frames.compression(index) == line["compression"]
    loaded = load_run(run)
    for name, expected in recorded_of(prune(loaded.guide, 3.0)).items():
        assert (frames.weights[name][-1] == expected).all()


def resume(run: Path) -> None:
    assert run_cli("train", "digits", *LONGER, "--out", run, "--resume", "--quiet")[0] == 0


@pytest.mark.slow
def test_killed_and_resumed(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"

    resume(whole)
    for epoch in (2, 7):
        process = get_context("spawn").Process(target=resume, args=(killed,))
        process.start()
        while not (killed / "frames" / f"{epoch:05}.npz").exists():
            assert process.is_alive(), "it ended before it could be killed"
            time.sleep(0.002)
        process.kill()
        process.join()
        assert not (killed / "metrics.json").exists()
    (killed / "frames" / ".00009.npz.abcdefgh.pyro_vd-tmp").write_bytes(b"half a fra")
    resume(killed)
    assert contents(killed / "frames") == contents(whole / "frames")
    assert len(read_frames(killed / "frames")) == 1 + 3 * 12


def test_broken_frames(tmp_path: Path) -> None:
    trained(tmp_path)
    path = tmp_path / "00002.npz"
    good = path.read_bytes()
    record(tmp_path / "smaller", nn.Linear(6, 8), DATA)
    smaller = (tmp_path / "smaller" / "00000.npz").read_bytes()
    for bad in (good[:-50], b"", b"PK\3\4"):
        path.write_bytes(bad)
        with refuses(str(path)):
            read_frames(tmp_path)
    path.write_bytes(smaller)
    with refuses(str(path), ANYTHING, tmp_path / "00000.npz"):
        read_frames(tmp_path)
    path.unlink()
    with refuses(str(path)):
        read_frames(tmp_path)
    np.savez(path, something=np.zeros(3))
    with refuses(str(path), ["epoch", "measured on", "score", "score name"], "train.frames"):
        read_frames(tmp_path)


def test_refused(tmp_path: Path, finished_run: Path) -> None:
    for value in ("-1", "1001", "2.5"):
        keys = (*SMALL, f"--train.frames={value}", "--out", tmp_path / "run")
        refused("train", "digits", *keys, quoted=["train.frames", value])
    refused("animate", finished_run, quoted=[str(finished_run), "train.frames"])
    with refuses("frames_per_epoch", 0):
        FrameRecorder(tmp_path, 0, DATA, "training")
