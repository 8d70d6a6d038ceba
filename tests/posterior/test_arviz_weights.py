"""The choice of weights in the posterior group, held means, and refused options."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from posterior_support import check_draws, known_data, known_pair
from support import ANYTHING, refuses
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, log_alpha, to_inference_data
from pyro_vd.models import MLP
from pyro_vd.posterior.arviz_files import to_tree


def posterior_of(model: Any, guide: Any, **options: Any) -> Any:
    return to_tree(to_inference_data(guide, known_data(), **options))["posterior"].to_dataset()


def labels_of(indices: Any) -> list[str]:
    return [", ".join(map(str, index)) for index in indices]


def test_the_weights_of_largest_signal() -> None:
    model, guide = known_pair()
    drawn = posterior_of(model, guide, num_samples=3, weights=15)
    assert drawn["3.weight"].dims == ("chain", "draw", "3.out", "3.in"), "a layer with fewer weights is included as a whole"
    signal = (-0.5 * log_alpha(guide)["1.weight"]).exp().numpy()
    order = np.stack(np.unravel_index(np.argsort(-signal, axis=None)[:15], signal.shape), 1)
    assert drawn["1.entry"].values.tolist() == labels_of(order.tolist())
    whole = posterior_of(model, guide, num_samples=3, weights="all")["1.weight"]
    assert np.array_equal(drawn["1.weight"], whole.values[:, :, order[:, 0], order[:, 1]]), "the same draws"


def test_named_weights() -> None:
    model, guide = known_pair()
    drawn = posterior_of(model, guide, num_samples=3, weights={"3.weight": [(2, 4), (0, 1)]})
    whole = posterior_of(model, guide, num_samples=3, weights={"3.weight": "all"})
    assert set(drawn.data_vars) == set(whole.data_vars) == {"3.weight"}
    assert drawn["3.entry"].values.tolist() == ["2, 4", "0, 1"]
    for label, index in {"2, 4": (2, 4), "0, 1": (0, 1)}.items():
        assert np.array_equal(drawn["3.weight"].sel({"3.entry": label}), whole["3.weight"].values[:, :, *index])
    nothing = to_tree(to_inference_data(guide, known_data(), num_samples=3, weights=0))
    assert "posterior" not in nothing.children
    assert nothing["log_likelihood"].sizes["draw"] == 3


def test_layers_of_every_kind_have_names_of_their_own() -> None:
    net = nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.ConvTranspose1d(4, 2, 2), nn.Flatten(), nn.Linear(10, 3)
    )
    model = BayesianNetwork(net)
    tree = to_tree(to_inference_data(VariationalDropout(model), known_data(), num_samples=2))
    sizes = {name: dict(tree["variational_parameters"][f"{name}.weight.theta"].sizes) for name in ("1", "2", "4")}
    assert sizes == {
        "1": {"1.out": 4, "1.in": 1, "1.kernel_0": 3},
        "2": {"2.in": 4, "2.out": 2, "2.kernel_0": 2},
        "4": {"4.out": 3, "4.in": 10},
    }
    bare = BayesianNetwork(nn.Linear(6, 3))
    found = to_tree(to_inference_data(VariationalDropout(bare), known_data(), num_samples=2))
    assert found["posterior"]["weight"].dims == ("chain", "draw", "out", "in")


def test_held_weights_are_drawn_about_zero() -> None:
    model, guide = known_pair()
    guide.train_threshold = 0.0
    drawn = posterior_of(model, guide, num_samples=2000, weights="all")
    for name, values in log_alpha(guide).items():
        q = guide.posterior(name)
        held = (values >= 0).numpy()
        assert 0 < held.sum() < held.size
        mean = np.where(held, 0, q.mean.detach())
        assert np.abs(mean - q.mean.detach().numpy()).max() > 0.5
        check_draws(drawn[name].values[0], mean, q.variance.detach().sqrt().numpy())


def test_removed_weights_stay_removed() -> None:
    _model, guide = known_pair()
    masks = {name: torch.arange(w.numel()).reshape(w.shape) % 2 == 1 for name, w in log_alpha(guide).items()}
    guide.apply_masks(masks)
    tree = to_tree(to_inference_data(guide, known_data(), num_samples=5, weights="all", rule=1e30))
    for name, left in masks.items():
        assert np.array_equal(tree["variational_parameters"][f"{name}.mask"], left)
        assert (tree["variational_parameters"][f"{name}.log_alpha"].values[~left] == math.inf).all()
        assert np.abs(tree["posterior"][name].values[0][:, ~left]).max() < 1e-6


BAD: dict[str, tuple[dict[str, Any], tuple[object, ...]]] = {
    "unknown-site": ({"weights": {"2.weight": 3}}, ("weights", ["2.weight"], "1.weight, 3.weight")),
    "negative": ({"weights": -1}, ("weights", -1, ">= 0")),
    "bool": ({"weights": True}, ("weights", True)),
    "beyond": ({"weights": {"3.weight": [(3, 0)]}}, ("weights of '3.weight'", [(3, 0)], "(3, 5)")),
    "from-the-end": ({"weights": {"3.weight": [(-1, 0)]}}, ("weights of '3.weight'", [(-1, 0)], "(3, 5)")),
    "one-index": ({"weights": {"3.weight": [3]}}, ("weights of '3.weight'", [3])),
    "fractions": ({"weights": {"3.weight": [(0.5, 1.0)]}}, ("weights of '3.weight'", [(0.5, 1.0)])),
    "other-word": ({"weights": "some"}, ("weights of '1.weight'", "some", "'all'")),
    "no-draw": ({"num_samples": 0}, ("num_samples", 0, ">= 1")),
    "seed": ({"seed": -1}, ("seed", -1, ">= 0")),
    "threshold": ({"rule": math.nan}, ("rule", math.nan)),
    "history": ({"history": [1]}, ("history", [1])),
}
"""Options, each with what its error must be about: the arguments of ``refuses``."""


@pytest.mark.parametrize(("options", "about"), BAD.values(), ids=BAD)
def test_bad_options_are_quoted(options: dict[str, Any], about: tuple[object, ...]) -> None:
    with refuses(*about):
        to_inference_data(known_pair()[1], known_data(), **options)


def test_bad_pairs_and_data() -> None:
    _model, guide = known_pair()
    x, y = known_data()
    with refuses(ANYTHING, ANYTHING, "data", " 3 "):
        to_inference_data(guide, (x, y + 1))


def test_a_name_that_no_file_can_hold() -> None:
    class Scoped(MLP):
        def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
            pyro.sample("outer/z", dist.Normal(0.0, 1.0))
            return super().forward(x, y)

    class ScopedGuide(VariationalDropout):
        def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
            pyro.sample("outer/z", dist.Normal(0.0, 1.0))
            return super().forward(*args, **kwargs)

    model = Scoped((6, 5, 3))
    with refuses("outer/z", "outer/z"):
        to_inference_data(ScopedGuide(model), known_data())


def test_weights_that_share_an_alpha() -> None:
    model = MLP([5, 4, 3])
    guide = VariationalDropout(model, -3, alpha_sharing="row")
    data = to_inference_data(guide, (torch.rand(6, 5), torch.arange(6) % 3), num_samples=2)
    found = data["variational_parameters"]
    np.testing.assert_allclose(found["1.weight.log_alpha"].std("1.in"), 0, atol=1e-6)
    theta, log_sigma2 = found["1.weight.theta"], found["1.weight.log_sigma2"]
    np.testing.assert_allclose(found["1.weight.log_alpha"], log_sigma2 - 2 * np.log(np.abs(theta)), rtol=1e-4)
