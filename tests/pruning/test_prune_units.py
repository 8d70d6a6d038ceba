"""Pruning to a number of units keeps the inputs of least log α, and all results of a run agree on them."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from support import SMALL, refused, refuses, run_cli
from torch import Tensor, nn

from pyro_vd import (
    BayesianNetwork,
    GroupVariationalDropout,
    PruningRule,
    VariationalDropout,
    compact,
    fit,
    load_pruned,
    load_run,
    log_alpha,
    posterior_mean,
    prune,
    surviving_units,
)
from pyro_vd.compaction import unit_counts
from pyro_vd.distributions import NormalJeffreys
from pyro_vd.guides import GaussianDropout, PointEstimate
from pyro_vd.pruning import pruning_masks
from pyro_vd.training.frame_files import read_frames
from pyro_vd.workflow import inspect_layers
from pyro_vd.workflow.finished_run import run_rule
from pyro_vd.workflow.inspection import run_inference_data
from pyro_vd.workflow.run_folder import FRAMES, read_history
from pyro_vd.workflow.tables import units_text

LAYERS = {
    "linear": (nn.Linear(5, 7), (5,)),
    "convolution": (nn.Conv2d(5, 4, 2), (5, 3, 3)),
    "transposed": (nn.ConvTranspose1d(5, 4, 2), (5, 3)),
}


def random_pair(net: nn.Module) -> tuple[BayesianNetwork, VariationalDropout]:
    model = BayesianNetwork(net)
    guide = VariationalDropout(model, log_sigma2=-4.0)
    with torch.no_grad():
        for name in guide.site_names:
            guide.site(name).log_sigma2.normal_(-3, 2)
    return model, guide


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("most", [0, 1, 3, 5, 9])
def test_the_inputs_of_least_log_alpha_are_kept(kind: str, most: int) -> None:
    layer, shape = LAYERS[kind]
    model, guide = random_pair(layer)
    values = log_alpha(guide)["weight"].movedim(model.weight_axes("weight").index("in"), 0).flatten(1)
    threshold = values.quantile(0.6).item()
    mask = pruning_masks(guide, PruningRule(threshold, max_inputs=[most]))["weight"]
    mask = mask.movedim(model.weight_axes("weight").index("in"), 0).flatten(1)
    best = sorted(range(5), key=lambda unit: values[unit].min().item())[:most]
    for unit in range(5):
        assert torch.equal(mask[unit], (values[unit] < threshold) & (unit in best))
    x = torch.randn(3, *shape)
    net = prune(guide, PruningRule(math.inf, max_inputs=[most]))
    gone = [unit for unit in range(5) if unit not in best]
    assert torch.equal(net(x.index_fill(1, torch.tensor(gone, dtype=torch.int64), 1e6)), net(x)), (
        "the network does not read the other inputs"
    )


def test_a_pruned_network_has_these_units() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4, 5), nn.ReLU(), nn.Linear(5, 2))
    model = BayesianNetwork(net, prior=NormalJeffreys)
    guide = GroupVariationalDropout(model, log_sigma2=-4.0)
    with torch.no_grad():
        for name in guide.site_names:
            guide.site(name).z_log_sigma2.uniform_(-6, -1)
    pruned = prune(guide, PruningRule(0.0, max_inputs=[2, 24, 3]))
    x = torch.randn(4, 3, 4, 4)
    small = compact(pruned, x[:1])
    assert unit_counts(surviving_units(pruned, x[:1])) == [2, 6, 3]
    torch.testing.assert_close(small(x), pruned(x))
    guide.apply_masks(pruning_masks(guide, PruningRule(0.0, max_inputs=[2, 24, 3])))
    torch.testing.assert_close(posterior_mean(guide)(x), pruned(x))


def test_inputs_that_cannot_be_ranked_are_refused() -> None:
    net = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    model, guide = random_pair(net)
    with refuses("max_inputs", 5):
        prune(guide, PruningRule(0.0, max_inputs=5))  # type: ignore[arg-type]
    for units in ([2], [2, 3, 4]):
        with refuses("max_inputs", units, "'0.weight', '1.weight'"):
            prune(guide, PruningRule(0.0, max_inputs=units))
    with refuses("max_inputs[1]", -1, ">= 0"):
        prune(guide, PruningRule(0.0, max_inputs=[2, -1]))
    assert pruning_masks(VariationalDropout(model, alpha_sharing="column"), PruningRule(3.0, max_inputs=[2, 3]))
    for other in (
        VariationalDropout(model, alpha_sharing="row"),
        VariationalDropout(model, alpha_sharing="layer"),
        GaussianDropout(model, 0.5),
    ):
        with refuses("max_inputs", [2, 3], type(other).__name__, "None"):
            pruning_masks(other, PruningRule(3.0, max_inputs=[2, 3]))
    biased = VariationalDropout(BayesianNetwork(nn.Linear(6, 4), include=("bias",)))
    with refuses("max_inputs", 3, "'bias'", "Linear"):
        prune(biased, PruningRule(3.0, max_inputs={"bias": 3}))


def test_limits_count_the_channels_of_all_groups_rows_and_heads() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.mixing = nn.Embedding(9, 8), nn.MultiheadAttention(8, 4, batch_first=True)
            self.convolution, self.head = nn.Conv1d(8, 8, 3, groups=4), nn.Linear(8, 2)

        def forward(self, ids: Tensor) -> Tensor:
            h = self.tokens(ids)
            h = self.mixing(h, h, h, need_weights=False)[0]
            return self.head(self.convolution(h.mT).mean(-1))

    _, guide = random_pair(Net())
    limits = {"tokens.weight": 4, "mixing.out_proj.weight": 3, "convolution.weight": 5}
    net = prune(guide, PruningRule(100.0, max_inputs=limits))
    assert int(net.tokens.weight.any(1).sum()) == 4
    assert int(net.mixing.out_proj.weight.unflatten(1, (4, 2)).any(2).any(0).sum()) == 3
    channels = net.convolution.weight.unflatten(0, (4, 2)).any(3).any(1).flatten()
    assert int(channels.sum()) == 5


def test_fit_refuses_a_bad_rule_before_the_first_epoch(tmp_path: Path) -> None:
    model, guide = random_pair(nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3)))
    data = torch.randn(20, 6), torch.randint(3, (20,))
    options = {"epochs": 2, "progress": False, "checkpoint": tmp_path / "c.pt"}
    with refuses("max_inputs", [1], "'0.weight', '1.weight'"):
        fit(guide, data, rule=PruningRule(max_inputs=[1]), **options)
    estimate = PointEstimate(model)
    with refuses("guide", estimate, "PointEstimate", "0.weight", "Delta"):
        fit(estimate, data, rule=PruningRule(max_inputs=[2, 2]), **options)
    assert not (tmp_path / "c.pt").exists()
    fit(guide, data, rule=PruningRule(max_inputs=range(2, 4)), **options)
    fit(guide, data, rule=PruningRule(max_inputs=(2, 3)), resume=True, **options)


@pytest.mark.slow
def test_a_run_to_a_number_of_units(tmp_path: Path) -> None:
    run = tmp_path / "run"
    keys = [
        "--train.guide=group",
        "--model.prior=normal-jeffreys",
        "--train.guide.weight_noise=false",
        "--train.guide.log_sigma2=-4",
    ]
    keys += ["--prune.threshold=0", "--prune.max_inputs=[20, 5]", "--finetune.epochs=0", "--train.frames=1"]
    code, _, err = run_cli("train", "digits", *SMALL, *keys, "--out", run, "--quiet")
    assert code == 0, err
    assert units_text(json.loads((run / "metrics.json").read_text())["compact"]["units"]) == "20-5"
    net, loaded = load_pruned(run / "pruned.safetensors"), load_run(run)
    size = json.loads((run / "metrics.json").read_text())["networks"]["pruned"]["compression"]
    assert read_history(run)[-1].compression == size, "the log counts the weights that pruning would keep"
    frames = read_frames(run / FRAMES)
    assert frames.left(len(frames) - 1) == [int((net.get_parameter(name) != 0).sum()) for name in loaded.guide.site_names]
    data = run_inference_data(loaded, num_samples=2, weights=1)
    layers = inspect_layers(loaded.guide, loaded.data.test, PruningRule(0.0, max_inputs=[20, 5]))
    assert [layer.surviving_inputs for layer in layers] == [20, 5]
    for layer in layers:
        left = net.get_parameter(layer.site) != 0
        assert torch.equal(left, torch.from_numpy(data["variational_parameters"][f"{layer.site}.mask"].values))
        assert layer.pruned == int((~left).sum())
    code, out, _ = run_cli("inspect", run, "--json", "--num-samples", "2", "--plots")
    assert code == 0
    assert [layer["surviving_inputs"] for layer in json.loads(out)["layers"]] == [20, 5]

    assert run_cli("prune", run, "--max-inputs", "9", "4")[0] == 0
    assert unit_counts(surviving_units(load_pruned(run / "pruned-0-9-4.safetensors"))) == [9, 4]
    assert run_cli("prune", run, "--threshold=-0.1")[0] == 0
    assert unit_counts(surviving_units(load_pruned(run / "pruned--0.1.safetensors"))) == [20, 5], (
        "the recipe's numbers still hold"
    )


@pytest.mark.parametrize(
    ("keys", "quoted"),
    [
        (["--prune.max_inputs=[3]"], ["prune.max_inputs (=[3])", " 2 "]),
        (["--prune.max_inputs=[3, -2]"], ["prune.max_inputs[1] (=-2)", ">= 0"]),
        (["--prune.max_inputs=[3, two]"], ["prune.max_inputs", "two"]),
        (
            ["--prune.max_inputs=[3, 2]", "--train.guide.alpha_sharing=row"],
            ["prune.max_inputs (=[3, 2])", "alpha_sharing='row'"],
        ),
        (
            ["--prune.max_inputs=[3, 2]", "--train.guide=gaussian", "--train.train_threshold=null", "--finetune.epochs=0"],
            ["prune.max_inputs (=[3, 2])", "'gaussian'"],
        ),
        (["--prune.max_inputs=[3, 2]", "--prune.max_error_rise=0.1"], ["prune.max_inputs (=[3, 2])", "max_error_rise (=0.1)"]),
    ],
)
def test_bad_settings(keys: list[str], quoted: list[str], tmp_path: Path) -> None:
    refused("train", "digits", *keys, "--out", tmp_path / "run", quoted=quoted)
    assert not (tmp_path / "run").exists()


def test_bad_numbers_for_a_finished_run(finished_run: Path) -> None:
    before = {path.name for path in finished_run.iterdir()}
    refused("prune", finished_run, "--max-inputs", "3", quoted=["max_inputs (=[3])", "'1.weight', '3.weight'"])
    refused("prune", finished_run, "--max-inputs", "3", "-2", quoted=["max_inputs[1] (=-2)"])
    refused(
        "prune", finished_run, "--max-inputs", "3", "2", "--max-error-rise=0.1", quoted=["--max-error-rise", "--max-inputs"]
    )
    assert {path.name for path in finished_run.iterdir()} == before


def test_units_of_a_run_whose_threshold_was_chosen(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    recipe = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(recipe.replace("max_error_rise: null", "max_error_rise: 0.5"))
    for extra, name in ((), f"pruned-{run_rule(load_run(run)).threshold:g}-9-4"), (("--threshold=-1",), "pruned--1-9-4"):
        assert run_cli("prune", run, "--max-inputs", "9", "4", *extra)[0] == 0
        assert unit_counts(surviving_units(load_pruned(run / f"{name}.safetensors"))) == [9, 4]


def test_rules_are_equal_and_hashed_by_what_they_say() -> None:
    rules = [PruningRule(), PruningRule(1.0, [2, 3]), PruningRule(1.0, {"a": 2}), PruningRule(thresholds={"a": 1.0, "b": 2.0})]
    assert len(set(rules)) == len(rules)
    assert hash(PruningRule(thresholds={"b": 2, "a": 1})) == hash(rules[-1])
    with refuses("max_inputs"):
        PruningRule(1.0, {0: 3, "a": 2})  # type: ignore[dict-item]
