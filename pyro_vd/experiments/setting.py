"""The input of every experiment, and its outcome: a table, figures, and the numbers behind the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyro
import torch

from pyro_vd._core.storage import as_json, save_figure, write_atomically
from pyro_vd.data.dataset import Arrays, Dataset
from pyro_vd.data.loading import load_data
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.plots.figure import Figure
from pyro_vd.training.callbacks import Callback
from pyro_vd.training.fit_result import FitResult
from pyro_vd.training.fitting import fit
from pyro_vd.workflow.model_config import InitialTheta, ModelConfig
from pyro_vd.workflow.phases import TrainConfig


@dataclass(frozen=True)
class Setting:
    """The settings that an experiment runs with."""

    name: str
    quick: bool = False
    """Whether the experiment only shows that it works, on the built-in digits within seconds, instead of in full on MNIST."""
    data_dir: str | None = None
    progress: bool = True

    def data(self) -> Dataset:
        """The data set: MNIST, or the built-in digits if the setting is quick."""
        return load_data("digits" if self.quick else "mnist", self.data_dir)

    def full(self, full: Any, quick: Any) -> Any:
        """The first argument, or the second if the setting is quick."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Outcome:
    """The outcome of an experiment."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: dict[str, Figure]
    """The figures by file name without its ending."""
    series: dict[str, Any] = field(default_factory=dict)
    """The numbers behind the figures, for ``results.json``."""

    def save(self, folder: Path) -> list[Path]:
        """Write ``table.md``, ``results.json`` and one PNG file per figure, and return the paths of the figures."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        write_atomically(folder / "table.md", "".join(f"| {' | '.join(line)} |\n" for line in lines).encode())
        content = {"columns": self.columns, "rows": self.rows, "series": self.series}
        write_atomically(folder / "results.json", f"{as_json(content)}\n".encode())
        paths = []
        for name, figure in self.figures.items():
            paths.append(folder / f"{name}.png")
            save_figure(figure, paths[-1])
        return paths


class Experiment(Protocol):
    """The members of a module that holds an experiment."""

    HELP: str
    """What it does, and how long it takes on two cores."""

    def run(self, setting: Setting) -> Outcome:
        """Carry the experiment out."""


def new_guide(
    sizes: Sequence[int], config: TrainConfig, seed: int, initial_theta: InitialTheta = "uniform-fan-out"
) -> WeightGuide:
    """The guide of ``config`` over a new fully connected network of these sizes."""
    torch.set_num_threads(1)
    pyro.set_rng_seed(seed)
    return config.guide.build(BayesianNetwork(ModelConfig(list(sizes), initial_theta=initial_theta).build()))


def train(
    guide: WeightGuide,
    config: TrainConfig,
    data: Arrays,
    setting: Setting,
    phase: str,
    *callbacks: Callback,
) -> FitResult:
    """Train a guide and its model on ``data`` as ``config`` says."""
    return fit(guide, data, phase=phase, progress=setting.progress, callbacks=callbacks, **config.fit_options())


def records(result: FitResult) -> list[dict[str, Any]]:
    """The records of a training as dicts, one per epoch."""
    return [asdict(record) for record in result.history]
