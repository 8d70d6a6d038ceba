"""The report's experiments and its open questions, one per file; ``pyro-vd experiment NAME`` carries one out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from pyro_vd._core.extras import check_installed

if TYPE_CHECKING:
    from pyro_vd.experiments.setting import Experiment

check_installed(__name__, "pyro-ppl", "matplotlib")

_MODULES = {
    "report-dropout-rates": "dropout_rates",
    "report-mlp2": "report_networks",
    "report-mlp3": "report_networks",
    "report-tradeoff": "tradeoff",
    "report-overfitting": "overfitting",
    "report-stability": "stability",
    "posterior-quality": "posterior_quality",
}
NAMES = tuple(_MODULES)


def load_experiment(name: str) -> Experiment:
    """The experiment of this name, one of :data:`NAMES`."""
    return cast("Experiment", import_module(f"pyro_vd.experiments.{_MODULES[name]}"))
