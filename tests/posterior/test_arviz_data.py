"""ArviZ data: every group has the right content, and each prediction belongs to its draw of the weights."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from posterior_support import EXAMPLES, check_draws, known_data, known_pair
from support import ANYTHING, refuses
from torch import Tensor, nn

import pyro_vd
from pyro_vd import BayesianNetwork, KLWeight, VariationalDropout, fit, log_alpha, to_inference_data
from pyro_vd.guides import PointEstimate
from pyro_vd.models import MLP
from pyro_vd.posterior.arviz_files import to_tree
from pyro_vd.pruning import threshold_masks


def tree_of(model: Any, guide: Any, **options: Any) -> Any:
    """Return the data as a DataTree, for both versions of ArviZ."""
    return to_tree(to_inference_data(guide, known_data(), **options))


def test_groups_dimensions_and_coordinates() -> None:
    model, guide = known_pair()
    history = fit(PointEstimate(model), known_data(), epochs=2, progress=False).history
    tree = tree_of(model, guide, num_samples=7, weights=4, history=history, attrs={"recipe": "seed: 5"}, seed=3)
    assert {name: dict(group.sizes) for name, group in tree.children.items()} == {
        "posterior": {"chain": 1, "draw": 7, "1.entry": 4, "3.entry": 4},
        "variational_parameters": {"1.out": 5, "1.in": 6, "3.out": 3, "3.in": 5, "1.bias_dim_0": 5, "3.bias_dim_0": 3},
        "posterior_predictive": {"chain": 1, "draw": 7, "example": EXAMPLES, "class": 3},
        "log_likelihood": {"chain": 1, "draw": 7, "example": EXAMPLES},
        "observed_data": {"example": EXAMPLES},
        "constant_data": {"example": EXAMPLES, "x_dim_0": 6},
        "training_history": {"record": 2},
    }
    for group in tree.children.values():
        for dim, size in group.sizes.items():
            if not str(dim).endswith("entry"):
                assert group[dim].values.tolist() == list(range(size))
    assert tree.attrs.items() >= {"recipe": "seed: 5", "seed": 3, "creation_library_version": pyro_vd.__version__}.items()
    assert {"created_at", "arviz_version", "torch_version", "python_version", "inference_library_version"} < set(tree.attrs)
    x, y = known_data()
    assert np.array_equal(tree["constant_data"]["x"], x)
    assert np.array_equal(tree["observed_data"]["y"], y)
    for index, record in enumerate(history):
        row = tree["training_history"].to_dataset().isel(record=index)
        assert (row["phase"].item(), row["epoch"].item(), row["loss"].item()) == ("train", index + 1, record.loss)
        assert math.isnan(row["score"].item()), "there were no validation data"


def test_variational_parameters_are_the_guides() -> None:
    model, guide = known_pair()
    found = tree_of(model, guide, num_samples=1, rule=1.0)["variational_parameters"]
    assert found.attrs["threshold"] == 1.0
    masks = threshold_masks(log_alpha(guide), 1.0)
    for name in guide.site_names:
        site = guide.site(name)
        parts = {"theta": site.theta, "log_sigma2": site.log_sigma2, "log_alpha": log_alpha(guide)[name], "mask": masks[name]}
        for part, value in parts.items():
            array = found[f"{name}.{part}"]
            assert array.dims == (name.replace("weight", "out"), name.replace("weight", "in"))
            assert np.array_equal(array, value.detach())
    assert found["1.weight.log_alpha"][0, 0] == math.inf
    assert np.array_equal(found["1.bias"], model.get_parameter("net.1.bias").detach())


def test_draws_are_the_posteriors() -> None:
    model, guide = known_pair()
    state = torch.get_rng_state()
    model.train()
    tree = tree_of(model, guide, num_samples=2000, weights="all")
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert not dict(pyro.get_param_store().named_parameters())
    for name in guide.site_names:
        q = guide.posterior(name)
        array = tree["posterior"][name]
        assert array.dims == ("chain", "draw", name.replace("weight", "out"), name.replace("weight", "in"))
        check_draws(array.values[0], q.mean.detach().numpy(), q.variance.detach().sqrt().numpy())
    again = tree_of(model, guide, num_samples=2, weights="all", seed=0)["posterior"]
    other = tree_of(model, guide, num_samples=2, weights="all", seed=1)["posterior"]
    assert np.array_equal(again["1.weight"][0, 0], tree["posterior"]["1.weight"][0, 0]), "the seed determines the draws"
    assert not np.array_equal(again["1.weight"], other["1.weight"])


class Branching(nn.Module):
    """A network that vmap cannot run for many draws at a time, because it branches on a value."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)
        return output if output.isfinite().all() else output.nan_to_num()


NETWORKS = {
    "mlp": lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(5, 3)),
    "convolution": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.ConvTranspose1d(1, 2, 3), nn.ReLU(), nn.Conv1d(2, 2, 3), nn.Flatten(), nn.Linear(12, 3)
    ),
    "branching": Branching,
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_one_draw_of_the_weights_makes_all_of_its_predictions(network: Any) -> None:
    model = BayesianNetwork(network(), num_data=1000)  # the scale N/B is not part of a log likelihood
    guide = VariationalDropout(model, log_sigma2=-1.0)
    tree = tree_of(model, guide, num_samples=20, weights="all")
    x, y = known_data()
    model.eval()
    for draw in range(20):
        weights = {name: torch.tensor(tree["posterior"][name].values[0, draw]) for name in guide.site_names}
        log_p = model.output(weights, x).log_softmax(-1).detach()
        probability = torch.tensor(tree["posterior_predictive"]["y_probability"].values[0, draw])
        torch.testing.assert_close(probability, log_p.exp())
        log_likelihood = torch.tensor(tree["log_likelihood"]["y"].values[0, draw])
        torch.testing.assert_close(log_likelihood, log_p.gather(1, y[:, None])[:, 0], rtol=1e-4, atol=1e-5)


def test_sampled_labels_have_their_probabilities() -> None:
    predictive = tree_of(*known_pair(), num_samples=400)["posterior_predictive"]
    p = predictive["y_probability"].values[0]
    is_class = predictive["y"].values[0][..., None] == np.arange(3)
    error = (is_class - p).sum((0, 1)) / np.sqrt((p * (1 - p)).sum((0, 1)))
    assert np.abs(error).max() < 4.5


class ShiftedModel(MLP):
    """A classifier with one more latent site, a shift of all logits."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        shift = pyro.sample("shift", dist.Normal(torch.zeros(3), 2.0).to_event(1))
        self.likelihood = lambda output: dist.Categorical(logits=output + shift)
        return super().forward(x, y)


class ShiftedGuide(VariationalDropout):
    """The guide of :class:`ShiftedModel`."""

    def __init__(self, model: MLP) -> None:
        super().__init__(model)
        self.mean_shift = nn.Parameter(torch.zeros(3))
        self.log_sd = nn.Parameter(torch.full((3,), -1.0))

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        weights = super().forward(*args, **kwargs)
        return weights | {"shift": pyro.sample("shift", dist.Normal(self.mean_shift, self.log_sd.exp()).to_event(1))}


def test_other_latent_sites_are_drawn_and_used() -> None:
    model = ShiftedModel((6, 5, 3))
    guide = ShiftedGuide(model)
    x, y = known_data()
    fit(guide, (x, y), epochs=30, lr=0.02, kl_weight=KLWeight(0.1), progress=False)
    tree = tree_of(model, guide, num_samples=1000, weights="all")
    shift = tree["posterior"]["shift"]
    assert shift.dims == ("chain", "draw", "shift_dim_0")
    assert guide.mean_shift[0] > 0.1, "it has learnt that class 0 is the most frequent"
    check_draws(shift.values[0], guide.mean_shift.detach().numpy(), guide.log_sd.detach().exp().numpy())
    weights = {name: torch.tensor(tree["posterior"][name].values[0, 17]) for name in guide.site_names}
    expected = (model.output(weights, x) + torch.tensor(shift.values[0, 17])).softmax(-1)
    torch.testing.assert_close(torch.tensor(tree["posterior_predictive"]["y_probability"].values[0, 17]), expected.detach())
    weights_alone = VariationalDropout(model)
    with refuses(ANYTHING, ANYTHING, "['shift']"):
        tree_of(model, weights_alone)
