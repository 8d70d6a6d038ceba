"""Read a file of every kind, and give what was read as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from seeds import DATA, OPTIONS, pair
from support import flat
from torch import Tensor, nn

from pyro_vd import NonFiniteError, fit, load_data, load_pruned
from pyro_vd._core.settings import tree_of
from pyro_vd._core.yaml_files import read_yaml
from pyro_vd.cli.arguments import likelihood_in
from pyro_vd.data.files import load_image_folder
from pyro_vd.export.pruned_file import read_info
from pyro_vd.posterior.arviz_files import read_inference_data, to_tree
from pyro_vd.training.alpha_log import read_alpha_log
from pyro_vd.training.frame_files import read_frames
from pyro_vd.workflow.comparison import read_results
from pyro_vd.workflow.plans import Grid
from pyro_vd.workflow.posterior_file import load_posterior
from pyro_vd.workflow.recipe_files import parse_recipe, read_recipe, recipe_with
from pyro_vd.workflow.results_table import print_results
from pyro_vd.workflow.run_folder import read_history, read_metrics
from pyro_vd.workflow.settings import Setting, make_setting
from pyro_vd.workflow.shared_sweep import SharedSweep
from pyro_vd.workflow.study import Study
from pyro_vd.workflow.tables import print_networks


def text_of(tensors: Any) -> str:
    return repr({key: (str(t.dtype), t.tolist()) for key, t in tensors.items()})


def read_recipe_file(path: Path) -> str:
    content = read_yaml(path)
    recipe = tree_of(parse_recipe(content, str(path)))
    given, taken = flat(content), flat(recipe)
    assert all(given[key] == taken.get(key, {}) for key in given), "another value than the file's"
    return repr(recipe)


def read_results_file(path: Path) -> str:
    content = read_metrics(path.parent)
    results = read_results([path.parent], names=["run"])
    print_results("", results, [], [])
    print_networks("", content["networks"])
    return repr(content)


def read_pruned_file(path: Path) -> str:
    net = load_pruned(path)
    info = read_info(path)
    return f"{info} {likelihood_in(info, path)} {net} {text_of(net.state_dict())}"


class Own(nn.Module):
    """A network that its file cannot describe, made smaller by compaction."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.inner, self.outer = nn.Linear(4, 6), nn.Linear(6, 2)
        self.inner.weight.data[2:] = 0
        self.inner.weight.data[:, 1] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x).relu())


def read_own_file(path: Path) -> str:
    return text_of(load_pruned(path, Own()).state_dict())


def read_posterior_file(path: Path) -> str:
    model, guide = pair()
    load_posterior(path, guide)
    return text_of({**model.state_dict(), **guide.state_dict()})


def resume(path: Path) -> str:
    """Go on from a checkpoint after its first epoch, by one step a batch: a wrong moment would be written through.

    Finite values in it may be too large to go on with, which ``fit`` says.
    """
    model, guide = pair()
    try:
        result = fit(guide, DATA, checkpoint=path, resume=True, **OPTIONS)
    except NonFiniteError as error:
        return f"not finite: {error}"
    losses = [(record.epoch, record.loss, record.kl) for record in result.history]
    return f"{losses} {text_of({**model.state_dict(), **guide.state_dict()})}"


def read_table(path: Path) -> str:
    data = load_data(str(path), target="y", test=0.2)
    return repr((data.features, data.classes, data.x_train.tolist(), data.y_train.tolist(), data.x_test.tolist()))


def read_texts(path: Path) -> str:
    data = load_data(str(path.parent))
    return repr((data.classes, data.x_train.tolist(), data.y_train.tolist()))


POINTS = [{"train.lr": "0.1"}, {"train.lr": "0.2"}]


def read_journal(path: Path) -> str:
    """Join a sweep, of which a run is claimed."""
    study, content = Study(path.parent), read_recipe("digits")

    def make(point: Any, seeds: Any) -> Setting:
        return make_setting(path.parent.parent, lambda changed: recipe_with(content, changed), point, seeds)

    sweep = SharedSweep(study, Grid(POINTS, ["0"]), make)
    claim = sweep.take()
    if claim is not None:
        claim.lock.release()
    return repr((study.about, sweep.failed(), sweep.stopped(), sweep.ended(), claim and claim.name))


def read_log_file(path: Path) -> str:
    return repr(read_history(path.parent))


def read_alpha_file(path: Path) -> str:
    return repr(read_alpha_log(path))


def read_frames_file(path: Path) -> str:
    frames = read_frames(path.parent)
    return repr((frames.epoch.tolist(), frames.score.tolist(), frames.measured_on, frames.score_name, str(frames.weights)))


def read_image(path: Path) -> str:
    return repr(load_image_folder(path.parents[2]).x_train.tolist())


def read_netcdf(path: Path) -> str:
    tree = to_tree(read_inference_data(path))
    return repr([(node.path, node.to_dataset().to_dict()) for node in tree.subtree])
