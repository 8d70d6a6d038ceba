"""``docs/policy.md`` says what the readers do with files of other versions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from support import ANYTHING, refuses
from torch import nn

from pyro_vd._core import storage
from pyro_vd._core.storage import load_checkpoint, save_checkpoint
from pyro_vd.export import load_pruned, pruned_file, save_pruned
from pyro_vd.training.frame_files import frame_of, read_frames, write_frames
from pyro_vd.workflow import posterior_file
from pyro_vd.workflow.finished_run import load_run
from pyro_vd.workflow.recipe_files import parse_recipe
from pyro_vd.workflow.run_folder import read_history, read_metrics

POLICY = (Path(__file__).parents[2] / "docs" / "policy.md").read_text("utf-8")


def test_the_policy_names_the_format_numbers() -> None:
    for mark in (pruned_file.MARK, posterior_file.MARK, storage._FORMAT):
        assert f"`{mark}`" in POLICY


def with_number(path: Path, mark: str, change: int) -> None:
    """Give a safetensors file another format number, and leave all else as it is."""
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    name, _, number = mark.rpartition(" ")
    save_file(tensors, path, {f"{name} {int(number) + change}": metadata[mark]})


@pytest.mark.parametrize("change", [-1, 0, 1])
def test_another_format_number_is_refused(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: int
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    readers: list[tuple[str, Callable[[], object]]] = [
        (pruned_file.MARK, lambda: load_pruned(run / "pruned.safetensors")),
        (posterior_file.MARK, lambda: load_run(run)),
    ]
    with_number(run / "pruned.safetensors", pruned_file.MARK, change)
    with_number(run / "posterior.safetensors", posterior_file.MARK, change)

    mark = storage._FORMAT
    name, _, number = mark.rpartition(" ")
    monkeypatch.setattr(storage, "_FORMAT", f"{name} {int(number) + change}")  # as another version writes it
    save_checkpoint(checkpoint := tmp_path / "checkpoint.pt", {"x": torch.zeros(1)})
    monkeypatch.setattr(storage, "_FORMAT", mark)
    readers.append((mark, lambda: load_checkpoint(checkpoint)))

    for wanted, read in readers:
        if change == 0:
            read()
        else:
            with refuses(ANYTHING, ANYTHING, wanted):
                read()


def test_a_network_may_say_more_than_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    describe = pruned_file.description_of
    monkeypatch.setattr(pruned_file, "description_of", lambda *arguments: {**describe(*arguments), "later": 1})
    net = nn.Sequential(nn.Linear(2, 3))
    save_pruned(net, tmp_path / "net.safetensors")
    assert torch.equal(load_pruned(tmp_path / "net.safetensors").get_parameter("0.weight"), net[0].weight)


def test_recipes_take_defaults_and_refuse_unknown_keys() -> None:
    content = {"data": {"name": "digits"}, "model": {"sizes": [64, 10]}}
    assert parse_recipe(content).seed == parse_recipe({**content, "seed": 0}).seed
    with refuses("later", 1):
        parse_recipe({**content, "later": 1})


def test_results_may_have_keys_that_are_not_known_and_may_lack_new_ones(finished_run: Path, tmp_path: Path) -> None:
    content = read_metrics(finished_run)
    network = content["networks"]["pruned"]
    optional = {"prior_share", "deployed", "ece", "ece_equal_mass", "brier", "entropy", "mutual_information"}
    assert optional <= network.keys()
    assert all(f"`{key}`" in POLICY for key in (*optional, "test_size", "compact"))
    older = {key: value for key, value in content.items() if key not in ("test_size", "compact", "versions")}
    older["networks"] = {"pruned": {key: value for key, value in network.items() if key not in optional}}
    for version in ({**content, "later": 1}, older):
        (tmp_path / "metrics.json").write_text(json.dumps(version))
        assert read_metrics(tmp_path) == version
    (tmp_path / "metrics.json").write_text(json.dumps({key: value for key, value in content.items() if key != "seed"}))
    with refuses("seed", ANYTHING, tmp_path / "metrics.json"):
        read_metrics(tmp_path)


def test_logs_may_lack_new_keys_and_refuse_unknown_ones(finished_run: Path, tmp_path: Path) -> None:
    row = json.loads((finished_run / "metrics.jsonl").read_text().splitlines()[0])
    optional = ("score_name", "nonzero_parameters", "sparse_bytes")
    assert all(f"`{key}`" in POLICY for key in optional)
    log = tmp_path / "metrics.jsonl"
    log.write_text(json.dumps({key: value for key, value in row.items() if key not in optional}) + "\n")
    (record,) = read_history(tmp_path)
    assert (record.epoch, record.sparse_bytes) == (1, None)
    for key, spoilt in (("later", {**row, "later": 1}), ("kl", {key: value for key, value in row.items() if key != "kl"})):
        log.write_text(json.dumps(spoilt) + "\n")
        with refuses(key):
            read_history(tmp_path)


def test_frames_may_lack_their_sizes_and_refuse_unknown_arrays(tmp_path: Path) -> None:
    data = torch.zeros(3, 7), torch.zeros(3, dtype=torch.long)
    write_frames(tmp_path, 0, [frame_of(nn.Linear(7, 2), 0.0, data, None, "training")])
    (path,) = tmp_path.glob("*.npz")
    with np.load(path) as file:
        arrays: dict[str, Any] = dict(file)
    sizes = ("weights", "kept weights", "sparse bytes")
    assert all(f"`{key}`" in POLICY for key in sizes)
    np.savez(path, **{key: value for key, value in arrays.items() if key not in sizes})
    assert read_frames(tmp_path).sizes is None
    np.savez(path, **arrays, later=np.zeros(1))
    with refuses(ANYTHING, "later", "'later'"):
        read_frames(tmp_path)
