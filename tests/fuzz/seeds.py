"""Small files that the library itself writes, and images, to be spoiled and read."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from support import EachStep
from torch import nn

from pyro_vd import VariationalDropout, fit, save_pruned
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.likelihood_files import describe
from pyro_vd.models.number_likelihoods import Normal
from pyro_vd.networks.ready import mlp
from pyro_vd.training import TrainingState
from pyro_vd.training.frame_files import frame_of, write_frames
from pyro_vd.workflow.study import FAILED, Study

DATA = torch.rand(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 2
OPTIONS: dict[str, Any] = {"epochs": 2, "batch_size": 4, "progress": False}


def pair() -> tuple[BayesianNetwork, VariationalDropout]:
    torch.manual_seed(1)
    model = BayesianNetwork(mlp((4, 3, 2)))
    return model, VariationalDropout(model)


def bytes_of(write: Callable[[Path], Any], name: str = "file") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def unfinished() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path, kept = Path(folder) / "c.pt", []

        def keep(state: TrainingState) -> None:
            if state.epoch == 1 and not kept:
                kept.append(path.read_bytes())

        fit(pair()[1], DATA, checkpoint=path, callbacks=[EachStep(keep)], **OPTIONS)
        return kept[0]


def pruned_seed(layout: Any) -> bytes:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(12, 6), nn.LeakyReLU(0.3), nn.Linear(6, 3))
    net[0].weight.data[:, 4:] = 0
    return bytes_of(lambda path: save_pruned(net, path, {"threshold": 3.0, **describe(Normal())}, layout=layout))


def frames_seed() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write_frames(Path(folder), 0, [frame_of(nn.Sequential(nn.Linear(4, 2)), 0.0, DATA, None, "training")])
        return (Path(folder) / "00000.npz").read_bytes()


def npz_seed() -> bytes:
    x = np.random.default_rng(0).random((12, 4), np.float32)
    np.savez_compressed(buffer := io.BytesIO(), x_train=x, y_train=np.arange(12) % 3, x_test=x[:6], y_test=np.arange(6) % 3)
    return buffer.getvalue()


def table_seeds() -> tuple[bytes, bytes]:
    """A table as CSV and as Parquet."""
    import pandas as pd

    rng = np.random.default_rng(0)
    table = pd.DataFrame({"a": rng.random(40).round(3), "b": rng.integers(0, 9, 40), "c": ["x", "y z"] * 20, "y": [0, 1] * 20})
    table.to_parquet(buffer := io.BytesIO())
    return table.to_csv(index=False).encode(), buffer.getvalue()


def texts_seed() -> bytes:
    texts = ["a good one", "a bad one, é", "", "so so"] * 3
    return "".join(f"{json.dumps({'text': text, 'label': i % 2})}\n" for i, text in enumerate(texts)).encode()


def journal_seed() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder))
        for key, value in {"search": None, "varied": ["train.lr"], "recipe": {"seed": None}}.items():
            study.note(key, value)
        study.add({"train.lr": "0.1"}, ["0"])
        study.tell(study.set(study.trials()[0], "failed", {"train.lr=0.1,seed=0": "why"}), FAILED)
        return (Path(folder) / "journal.jsonl").read_bytes()


def image_seed() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(buffer := io.BytesIO(), "png")
    return buffer.getvalue()


def network_file(load: Callable[[Path], nn.Module]) -> Callable[[Path], str]:
    return lambda path: repr(load(path)(DATA[0]).tolist())
