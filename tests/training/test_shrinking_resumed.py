"""Checkpoints, the best epoch and several processes go on across the epoch after which a network becomes smaller."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from process_support import group_of
from shrinking_support import (
    EPOCHS,
    LABELS,
    Network,
    Watch,
    deaden,
    dense,
    flattened,
    normalised,
    state_of,
    trained,
    variational,
    words,
)
from torch import Tensor

from pyro_vd import BayesianNetwork, VariationalDropout, fit, prune
from pyro_vd.networks import mlp
from pyro_vd.testing.interrupting import Interrupt
from pyro_vd.training import Callback, TrainingState


def flipped(x: Tensor) -> Tensor:
    """The images, or numbers, turned around at random."""
    return x.flip(-1) if torch.rand(()) < 0.5 else x


RESUMED: dict[str, tuple[Callable[[], Network], dict[str, Any]]] = {
    "momentum": (normalised, {"optimizer": partial(torch.optim.SGD, momentum=0.9), "lr": 1e-5}),
    "factors": (words, {"optimizer": "Adafactor", "lr": 1e-4, "accumulate": 2}),
    "augmented": (flattened, {"augment": flipped, "restore_best": True, "max_grad_norm": 1.0}),
    "scheduled": (dense, {"scheduler": partial(torch.optim.lr_scheduler.StepLR, step_size=2), "train_threshold": 3.0}),
}


@pytest.mark.parametrize("epoch", [2, 3, 4])
@pytest.mark.parametrize("case", RESUMED)
def test_a_resumed_training_is_the_one_that_was_not_interrupted(case: str, epoch: int, tmp_path: Path) -> None:
    network, options = RESUMED[case]
    x = network()[1]
    options = {**options, "validation": (x, LABELS)}
    whole, _, watch = trained(network, variational, **options)
    assert watch.state.shrinking is not None
    assert len(watch.state.shrinking.plans) == 1
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        trained(network, variational, callbacks=[Interrupt(epoch)], checkpoint=checkpoint, **options)
    resumed, _, other = trained(network, variational, checkpoint=checkpoint, resume=True, **options)
    assert len(other.weights) == EPOCHS - epoch
    assert state_of(resumed) == state_of(whole)
    assert other.weights == watch.weights[epoch:]
    assert repr(other.state.optimizer.state_dict()) == repr(watch.state.optimizer.state_dict())


@torch.no_grad()
def test_the_best_epoch_is_gone_back_to_from_a_smaller_network() -> None:
    """The score is that against the network before it was trained, which gets worse with every epoch."""
    seen: list[dict[str, Tensor]] = []

    class Seen(Callback):
        def on_epoch(self, state: TrainingState, record: object) -> None:
            seen.append({name: tensor.clone() for name, tensor in state.network().state_dict().items()})

    torch.manual_seed(1)
    net, x = dense()
    guide, watch = variational(net, x), Watch()
    deaden(guide)
    validation = x, prune(guide)(x).argmax(1)
    options: dict[str, Any] = {"lr": 0.2, "kl_weight": 0.0, "epochs": 6, "batch_size": 20, "restore_best": True}
    opposite = x, (validation[1] + 1) % 3
    result = fit(
        guide, opposite, validation, shrink=True, train_threshold=3.0, callbacks=[watch, Seen()], progress=False, **options
    )
    assert watch.weights[-1] < watch.weights[0]
    assert result.epoch <= 3, "before the network was made smaller"
    assert all(guide.mask(name) is None for name in guide.site_names)
    after = prune(guide).state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in seen[result.epoch - 1].items())


def quiet(rank: int, shrink: bool = True, masked: bool = False) -> tuple[Tensor, list[int]]:
    """Train with next to no noise; weights are exactly zero, so that inputs are not read, and units are read by nothing.

    ``masked`` removes these weights before the training.
    """
    torch.manual_seed(1 + rank)
    guide, watch = VariationalDropout(BayesianNetwork(mlp((20, 16, 3)).double()), -60.0), Watch()
    with torch.no_grad():
        guide.site("1.weight").theta[:, :10] = 0
        guide.site("3.weight").theta[:, 3:6] = 0
    if masked:
        guide.apply_masks({name: guide.site(name).theta != 0 for name in guide.site_names})
    data = dense()[1].double(), LABELS
    options: dict[str, Any] = {"optimizer": partial(torch.optim.SGD, lr=1e-4, momentum=0.9), "train_threshold": 3.0}
    options |= {"epochs": 6, "batch_size": 16, "kl_weight": 0.0}
    fit(guide, data, shrink=shrink, callbacks=[watch], progress=False, **options)
    return torch.cat([p.detach().flatten() for part in (guide, guide.model) for p in part.parameters()]), watch.weights


@pytest.mark.parametrize("masked", [False, True], ids=["beyond the threshold", "removed before"])
def test_without_noise_what_is_left_is_trained_as_in_the_whole_network(masked: bool) -> None:
    (shrunk, weights), (whole, of_whole) = quiet(0, masked=masked), quiet(0, shrink=False, masked=masked)
    assert weights[0 if masked else -1] == 10 * 13 + 13 * 3
    assert set(of_whole) == {20 * 16 + 16 * 3}
    torch.testing.assert_close(shrunk, whole, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_several_processes_shrink_as_one() -> None:
    alone, weights = quiet(0)
    assert weights[-1] < weights[0]
    with group_of(2) as group:
        (first, of_first), (second, _) = group.call(quiet)
        (first_masked, of_masked), (second_masked, _) = group.call(quiet, True, True)
    assert torch.equal(first, second)
    assert of_first == weights
    torch.testing.assert_close(first, alone, rtol=1e-6, atol=1e-7)
    assert torch.equal(first_masked, second_masked)
    assert of_masked == [weights[-1]] * len(weights)


def masked() -> tuple[VariationalDropout, dict[str, Any]]:
    """A guide of which a mask has removed the inputs of half of the units, which their biases make constant."""
    torch.manual_seed(1)
    guide = VariationalDropout(BayesianNetwork(mlp((20, 16, 3))))
    masks = {name: torch.ones_like(guide.site(name).theta, dtype=torch.bool) for name in guide.site_names}
    masks["1.weight"][:8] = masks["1.weight"][:, :10] = False
    guide.apply_masks(masks)
    with torch.no_grad():
        guide.model.get_parameter("net.1.bias").fill_(0.5)
    return guide, state_of(guide)


class Stop(Callback):
    def on_start(self, state: TrainingState) -> None:
        state.stop()


def test_removing_what_was_pruned_before_changes_nothing_where_nothing_is_trained() -> None:
    guide, before = masked()
    fit(guide, (dense()[1], LABELS), epochs=2, shrink=True, callbacks=[Stop()], progress=False)
    assert state_of(guide) == before
    network = prune(guide)
    with pytest.raises(KeyboardInterrupt):
        fit(guide, (dense()[1], LABELS), epochs=2, lr=1e-12, shrink=True, callbacks=[Interrupt(0)], progress=False)
    torch.testing.assert_close(prune(guide)(dense()[1]), network(dense()[1]))


@pytest.mark.parametrize("epoch", [1, 4])
def test_a_training_that_began_smaller_is_resumed(epoch: int, tmp_path: Path) -> None:
    """After four epochs the constant units are gone, too."""
    whole, watch = masked()[0], Watch()
    options: dict[str, Any] = {"epochs": 6, "batch_size": 20, "shrink": True, "progress": False}
    fit(whole, (dense()[1], LABELS), callbacks=[watch], **options)
    assert watch.weights[0] == 10 * 16 + 16 * 3
    assert watch.weights[-1] == 10 * 8 + 8 * 3
    in_parts = masked()[0]
    with pytest.raises(KeyboardInterrupt):
        fit(in_parts, (dense()[1], LABELS), callbacks=[Interrupt(epoch)], checkpoint=tmp_path / "c.pt", **options)
    in_parts = masked()[0]
    fit(in_parts, (dense()[1], LABELS), checkpoint=tmp_path / "c.pt", resume=True, **options)
    assert state_of(in_parts) == state_of(whole)
