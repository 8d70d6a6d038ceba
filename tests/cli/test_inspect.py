"""``pyro-vd inspect``: its figures against the guide's own parameters, what it writes, and what it leaves alone."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from support import SMALL, command, contents, python, refused, run_cli
from torch import nn
from torch.distributions import kl_divergence

from pyro_vd import BayesianNetwork, VariationalDropout, load_run, log_alpha, prune
from pyro_vd.cli.inspect import FIGURES, FILE
from pyro_vd.distributions import LogUniform
from pyro_vd.posterior import read_inference_data
from pyro_vd.posterior.arviz_files import to_tree
from pyro_vd.pruning import threshold_masks
from pyro_vd.workflow import inspect_layers, run_inference_data
from pyro_vd.workflow.run_folder import read_history, read_metrics

SHORT = ("--num-samples=5",)


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to write into."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def inspect(run: Path, *options: str) -> Any:
    """What the command prints with ``--json``."""
    code, out, err = run_cli("inspect", run, *SHORT, *options, "--json")
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    return json.loads(out, parse_constant=pytest.fail)


def test_figures_of_each_layer(run: Path) -> None:
    result = inspect(run)
    assert (result["run"], result["file"], result["figures"]) == (str(run), str(run / FILE), [])
    loaded = load_run(run)
    threshold = read_metrics(run)["threshold"]
    assert result["threshold"] == threshold
    net = prune(loaded.guide, threshold)
    kl = {name: kl_divergence(loaded.guide.posterior(name), LogUniform()).sum().item() for name in loaded.guide.site_names}
    for layer, (name, values) in zip(result["layers"], log_alpha(loaded.guide).items(), strict=True):
        weight, q = net.get_parameter(name).detach(), loaded.guide.posterior(name)
        assert (layer["site"], layer["weights"], layer["pruned"]) == (name, weight.numel(), int((weight == 0).sum()))
        assert 0 < layer["pruned"] < layer["weights"]
        signal = (q.mean.abs() / q.variance.sqrt()).detach().numpy()
        for quantiles, of in (
            (layer["quantiles"], values.numpy()),
            (layer["signal_quantiles"], signal),
            (layer["left_signal_quantiles"], signal[weight.numpy() != 0]),
        ):
            expected = np.quantile(of, (0.05, 0.25, 0.5, 0.75, 0.95), method="nearest")
            assert quantiles == pytest.approx([None if value == math.inf else value for value in expected.tolist()], rel=1e-5)
        assert (layer["units"], layer["inputs"]) == tuple(weight.shape)
        assert layer["surviving_units"] == int((weight != 0).any(1).sum())
        assert layer["surviving_inputs"] == int((weight != 0).any(0).sum())
        assert layer["kl"] == pytest.approx(kl[name], rel=1e-5)
        assert layer["kl_share"] == pytest.approx(kl[name] / sum(kl.values()), rel=1e-5)


def test_the_file_is_the_runs(run: Path) -> None:
    inspect(run, "--weights=3")
    loaded = load_run(run)
    tree = to_tree(read_inference_data(run / FILE))
    made = to_tree(run_inference_data(loaded, num_samples=5, weights=3))
    assert set(tree.children) == set(made.children)
    for name, group in tree.children.items():
        assert group.to_dataset().identical(made[name].to_dataset()), name
    assert yaml.safe_load(tree.attrs["recipe"]) == yaml.safe_load((run / "recipe.yaml").read_text())
    assert tree.attrs["seed"] == loaded.recipe.seed
    assert np.array_equal(tree["constant_data"]["x"], loaded.data.x_test)
    assert np.array_equal(tree["observed_data"]["y"], loaded.data.y_test)
    assert tree["training_history"]["phase"].values.tolist() == ["pretrain"] * 2 + ["train"] * 2 + ["finetune"] * 2
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for key in ("loss", "kl", "score", "compression"):
        assert tree["training_history"][key].values.tolist() == [line[key] for line in lines]


@pytest.mark.slow
def test_plots(run: Path) -> None:
    before = contents(run)
    result = inspect(run, "--plots")
    assert result["figures"] == [str(run / name) for name in FIGURES]
    assert contents(run).items() > before.items(), "nothing of the run itself was touched"
    assert set(contents(run)) - set(before) == {FILE, *FIGURES}
    for name in FIGURES:
        with Image.open(run / name) as image:
            pixels = np.asarray(image.convert("L"))
        assert pixels.std() > 10, "something is drawn"


@pytest.mark.slow
def test_the_figures_are_named(run: Path) -> None:
    assert f"figures in {run}: {', '.join(FIGURES)}\n" in run_cli("inspect", run, *SHORT, "--plots")[1]
    assert "figures in" not in run_cli("inspect", run, *SHORT, "--overwrite")[1]


@pytest.mark.slow
def test_nothing_is_overwritten_unasked(run: Path) -> None:
    (run / FIGURES[2]).write_text("mine")
    before = contents(run)
    refused("inspect", run, "--plots", quoted=[str(run / FIGURES[2]), "--overwrite"])
    assert contents(run) == before
    inspect(run)
    written = contents(run)
    refused("inspect", run, quoted=[str(run / FILE), "--overwrite"])
    assert contents(run) == written
    earlier = (run / FILE).stat().st_mtime_ns
    inspect(run, "--plots", "--overwrite")
    assert (run / FILE).stat().st_mtime_ns > earlier
    assert all(contents(run)[name] != written.get(name) for name in FIGURES)
    assert before.items() - {(FIGURES[2], before[FIGURES[2]])} <= contents(run).items()


def test_table(run: Path) -> None:
    code, out, err = run_cli("inspect", run, *SHORT)
    assert (code, err) == (0, "")
    loaded = load_run(run)
    for layer in inspect_layers(loaded.guide, loaded.data.test, read_metrics(run)["threshold"]):
        (row,) = (line for line in out.splitlines() if line.strip().startswith(layer.site))
        left = f"{layer.surviving_inputs}/{layer.inputs} {layer.surviving_units}/{layer.units}"
        assert f"{left} {layer.kl:.1f} ({100 * layer.kl_share:.1f})" in " ".join(row.split())
        assert f"{100 * layer.sparsity:.1f}" in row
    assert "…" not in out, "no number is cut"


def test_surviving_inputs_and_units() -> None:
    """Also where the weight's first dimension is its input."""
    model = BayesianNetwork(nn.Sequential(nn.Linear(6, 8), nn.Unflatten(1, (4, 2)), nn.ConvTranspose1d(4, 5, 2), nn.Flatten()))
    guide = VariationalDropout(model)
    masks = {name: torch.ones_like(values, dtype=torch.bool) for name, values in log_alpha(guide).items()}
    masks["0.weight"][3] = masks["0.weight"][:, :2] = False
    masks["2.weight"][0] = masks["2.weight"][:, 1:4] = masks["2.weight"][1, 0, 0] = False
    guide.apply_masks(masks)
    linear, transposed = inspect_layers(guide, (torch.rand(2, 6), torch.tensor([0, 14])), rule=1e9)
    assert (linear.surviving_inputs, linear.inputs, linear.surviving_units, linear.units) == (4, 6, 7, 8)
    assert (transposed.surviving_inputs, transposed.inputs, transposed.surviving_units, transposed.units) == (3, 4, 2, 5)


def test_a_layer_with_nothing_left(finished_run: Path) -> None:
    run = load_run(finished_run)
    layers = inspect_layers(run.guide, run.data.test, rule=-100.0)
    for layer in layers:
        assert (layer.sparsity, layer.surviving_inputs, layer.surviving_units, layer.left_signal_quantiles) == (1, 0, 0, None)
    run.guide.apply_masks({name: values < -100 for name, values in threshold_masks(log_alpha(run.guide), 0.0).items()})
    removed = inspect_layers(run.guide, run.data.test)
    assert [(layer.kl, layer.kl_share, set(layer.quantiles)) for layer in removed] == [(0.0, 0.0, {math.inf})] * 2


@pytest.mark.slow
def test_in_a_process_of_its_own_nothing_else_is_printed(run: Path) -> None:
    """ArviZ's announcements, and a display that is not there, are none of the user's business."""
    line = command("inspect", run, *SHORT, "--plots")[1:]
    done = python(f"import sys; from pyro_vd.cli.main import main; main({line[2:]!r})")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1.weight" in done.stdout


def test_bad_arguments(run: Path, tmp_path: Path) -> None:
    refused("inspect", tmp_path / "none", quoted=[f"run (='{tmp_path / 'none'}')"])
    refused("inspect", run, "--num-samples=0", quoted=["num_samples (=0)"])
    refused("inspect", run, "--weights=-3", quoted=["weights (=-3)"])
    (run / "metrics.jsonl").write_text('{"phase": "train"}\n')
    refused("inspect", run, quoted=["metrics.jsonl", "'epoch'"])
    assert not (run / FILE).exists()


def test_history_with_nothing_finite(run: Path) -> None:
    row = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])
    (run / "metrics.jsonl").write_text(json.dumps({**row, "loss": None, "compression": None, "score": None}) + "\n")
    (record,) = read_history(run)
    assert math.isnan(record.loss)
    assert (record.compression, record.score) == (math.inf, None)


def test_a_run_without_alpha_is_refused(tmp_path: Path) -> None:
    keys = ["--train.guide=bernoulli", "--train.train_threshold=null", "--pretrain.epochs=0", "--finetune.epochs=0"]
    code, _, err = run_cli("train", "digits", *SMALL, *keys, "--out", tmp_path / "run", "--quiet")
    assert code == 0, err
    for name, options in ("inspect", []), ("prune", ["--threshold=1"]):
        refused(name, tmp_path / "run", *options, quoted=["train.guide.kind", "'bernoulli'", "α"])
