"""Files that do not fit the network that is given, and networks that a file cannot describe, are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compaction_support import prune_at_random
from given_network_support import LAYOUTS, Convolutional, Flat, Normalised, Own, made, tied
from safetensors import safe_open
from safetensors.torch import save_file
from support import ANYTHING, refuses
from torch import nn

from pyro_vd import load_pruned, save_pruned
from pyro_vd.networks.modules import SelectInputs

OTHERS: dict[str, Callable[[], nn.Module]] = {
    "more units": lambda: Own(41),
    "fewer units": lambda: Own(39),
    "tiny": lambda: Own(2),
    "more inputs": lambda: Own(inputs=13),
    "more outputs": lambda: Own(outputs=4),
    "another class": Convolutional,
    "a Sequential": lambda: nn.Sequential(nn.Linear(12, 40), nn.Linear(40, 3)),
}


@pytest.mark.parametrize("compacted", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("other", OTHERS)
def test_another_architecture_is_told_from_a_corrupt_file(tmp_path: Path, other: str, layout: Any, compacted: bool) -> None:
    net, small, _ = made("linear")
    save_pruned(small if compacted else net, tmp_path / "net", layout=layout)
    with refuses(str(tmp_path / "net"), ANYTHING, "architecture"):
        load_pruned(tmp_path / "net", OTHERS[other]())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_so_it_is_of_a_described_one(tmp_path: Path, layout: Any) -> None:
    net = nn.Sequential(nn.Linear(30, 20), nn.Linear(20, 3))
    prune_at_random(net)
    save_pruned(net, tmp_path / "net", layout=layout)
    for given in (nn.Sequential(nn.Linear(31, 20), nn.Linear(20, 3)), nn.Sequential(nn.Linear(30, 20))):
        with refuses(str(tmp_path / "net"), ANYTHING, "architecture"):
            load_pruned(tmp_path / "net", given)


def with_sizes(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The file with other sizes written in it."""
    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["pyro_vd network 1"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(described["sizes"])
    save_file(tensors, path.with_name("bad"), {"pyro_vd network 1": json.dumps(described)})
    return path.with_name("bad")


HOSTILE: dict[str, Callable[[dict[str, Any]], None]] = {
    "no shapes": lambda sizes: sizes.pop("shapes"),
    "shapes of text": lambda sizes: sizes["shapes"].update({"net.first.weight": "big"}),
    "giant shape": lambda sizes: sizes["shapes"].update({"net.first.weight": [10**9, 10**9]}),
    "negative shape": lambda sizes: sizes["shapes"].update({"net.first.weight": [-1, 12]}),
    "a number": lambda sizes: sizes.update(shapes=3),
    "layer that is not there": lambda sizes: sizes["whole"].update({"net.third.weight": [2, 2]}),
    "tensor that is not there": lambda sizes: sizes["whole"].update({"net.first.scale": [2, 2]}),
    "before of another rank": lambda sizes: sizes["whole"].update({"net.first.weight": [40]}),
    "no front": lambda sizes: sizes.update(front=None),
    "front of text": lambda sizes: sizes.update(front="inputs"),
    "front of giants": lambda sizes: sizes["front"].update(features=10**12, name="net"),
    "features of text": lambda sizes: sizes["front"].update(features="12"),
    "fewer features": lambda sizes: sizes["front"].update(features=2),
    "another argument": lambda sizes: sizes["front"].update(cls="Linear"),
    "other features": lambda sizes: sizes["front"].update(features=13),
    "numbers of text": lambda sizes: sizes.update(numbers="12"),
    "a number that is not there": lambda sizes: sizes["numbers"].update({"net.first.heads": 2}),
    "a larger number": lambda sizes: sizes["numbers"].update({"net.first.in_features": 10**9}),
    "another kind of number": lambda sizes: sizes["numbers"].update({"net.first.training": 1}),
    "several numbers for one": lambda sizes: sizes["numbers"].update({"net.first.in_features": [1, 2]}),
    "a method for a number": lambda sizes: sizes["numbers"].update({"net.first.forward": 1}),
    "attention where there is none": lambda sizes: sizes["attention"].update({"net.first": [1, 1, 1]}),
    "attention without widths": lambda sizes: sizes["attention"].update({"net.first": [1]}),
    "normalisation where there is none": lambda sizes: sizes["norms"].update({"net.first": [1, -1]}),
    "normalisation without a dimension": lambda sizes: sizes["norms"].update({"net.first": [1]}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", HOSTILE)
def test_sizes_in_a_file_are_not_trusted(tmp_path: Path, name: str, layout: Any) -> None:
    _, small, _ = made("linear")
    save_pruned(small, tmp_path / "net", layout=layout)
    bad = with_sizes(tmp_path / "net", HOSTILE[name])
    with refuses(str(bad)):
        load_pruned(bad, Own())


@pytest.mark.parametrize("removed", [-1, 32, 10**9, 1.5])
def test_a_normalisation_cannot_have_lost_more_than_it_had(tmp_path: Path, removed: Any) -> None:
    _, small, _ = made("normalised")
    save_pruned(small, tmp_path / "net")
    bad = with_sizes(tmp_path / "net", lambda sizes: sizes["norms"].update({"net.layer": [removed, -1]}))
    with refuses(str(bad)):
        load_pruned(bad, Normalised())


MESSAGES: dict[str, tuple[Callable[[], nn.Module], str | None]] = {
    "own class": (Own, "how to build Own:"),
    "in a Sequential": (
        lambda: nn.Sequential(nn.Flatten(), nn.Sequential(nn.GroupNorm(1, 4), nn.ReLU(), nn.GroupNorm(1, 4)), Own()),
        "how to build GroupNorm (1.0, 1.2); Own (2):",
    ),
    "no deeper": (lambda: nn.Sequential(Flat(nn.Sequential(Own(), nn.PReLU())), nn.ReLU()), "how to build Flat (0):"),
    "tied": (tied, "how to build layers that share a parameter:"),
    "described": (lambda: nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), SelectInputs(2, 1))), None),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_what_a_file_cannot_describe_is_named_when_it_is_written(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    make, message = MESSAGES[name]
    save_pruned(make(), tmp_path / "net")
    assert len(caplog.records) == (message is not None)
    if message:
        assert f"{message} load_pruned(path, net=...) will need the network" in caplog.text


class WithExtraState(Own):
    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 3}

    def set_extra_state(self, state: object) -> None: ...


def test_a_state_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    with refuses("net", ["_extra_state"], "WithExtraState", "_extra_state"):
        save_pruned(WithExtraState(), tmp_path / "net")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sizes", [[0, 2, 2], [2, 5, 2], [3, 2, 2], [True, 2, 2], [2, 2.0, 2]])
def test_heads_in_a_file_are_not_trusted(tmp_path: Path, sizes: list[Any]) -> None:
    net = nn.TransformerEncoderLayer(8, 2, 4, batch_first=True)
    save_pruned(net, tmp_path / "net")
    bad = with_sizes(tmp_path / "net", lambda described: described["attention"].update({"self_attn": sizes}))
    with refuses(str(bad)):
        load_pruned(bad, net)
