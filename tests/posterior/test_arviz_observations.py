"""Groups of ArviZ data where an example has several labels, soft labels, a weight, or several heads; files of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, evaluate, to_inference_data
from pyro_vd.models import Categorical, MixtureOfNormals, Normal, Weighted
from pyro_vd.posterior import held_out_elpd, read_inference_data, write_inference_data
from pyro_vd.posterior.arviz_files import to_tree

X = torch.randn(12, 4, generator=torch.Generator().manual_seed(1))


def tree_of(net: nn.Module, likelihood: Any, y: Any, **options: Any) -> Any:
    guide = VariationalDropout(BayesianNetwork(net, likelihood), log_sigma2=-4.0)
    return to_tree(to_inference_data(guide, (X, y), num_samples=5, **options))


def of(tree: Any, group: str, name: str) -> Tensor:
    return torch.as_tensor(np.asarray(tree[group][name]))


@pytest.mark.parametrize("layout", ["tokens", "pixels"])
def test_labels_of_positions(layout: str) -> None:
    shape = (3, 5) if layout == "tokens" else (5, 2, 2)
    net = nn.Sequential(nn.Linear(4, int(np.prod(shape))), nn.Unflatten(1, shape))
    positions = (3,) if layout == "tokens" else (2, 2)
    y = torch.randint(5, (12, *positions))
    y[:, 0] = -100
    tree = tree_of(net, Categorical(-1 if layout == "tokens" else 1, ignore_index=-100), y)
    dims = [f"y_dim_{k}" for k in range(len(positions))]
    assert tree["posterior_predictive"]["y"].dims == ("chain", "draw", "example", *dims)
    assert tree["posterior_predictive"]["y_probability"].dims == ("chain", "draw", "example", *dims, "class")
    assert tree["observed_data"]["y"].dims == ("example", *dims)
    p = of(tree, "posterior_predictive", "y_probability")[0]
    kept = y != -100
    by_hand = torch.where(kept, p.log().gather(-1, y.clamp(min=0).expand(5, *y.shape)[..., None])[..., 0], 0.0)
    torch.testing.assert_close(of(tree, "log_likelihood", "y")[0], by_hand.flatten(2).sum(-1), rtol=1e-4, atol=1e-4)
    assert torch.equal(of(tree, "observed_data", "y"), y)


def test_soft_labels() -> None:
    soft = torch.randn(12, 3).softmax(-1)
    tree = tree_of(nn.Linear(4, 3), Categorical(), soft)
    p = of(tree, "posterior_predictive", "y_probability")[0]
    torch.testing.assert_close(of(tree, "log_likelihood", "y")[0], (soft * p.log()).sum(-1), rtol=1e-4, atol=1e-4)
    assert torch.equal(of(tree, "observed_data", "y"), soft)
    assert tree["posterior_predictive"]["y"].shape == (1, 5, 12)


def test_weights_of_examples() -> None:
    y, weight = torch.randn(12), torch.arange(12.0)
    tree = tree_of(nn.Linear(4, 1), Weighted(Normal(0.5)), {"y": y, "weight": weight})
    mean = of(tree, "posterior_predictive", "y_mean")[0]
    log_p = torch.distributions.Normal(mean, 0.5).log_prob(y)
    torch.testing.assert_close(of(tree, "log_likelihood", "y")[0], torch.where(weight > 0, log_p, 0.0), rtol=1e-4, atol=1e-4)
    assert torch.equal(of(tree, "constant_data", "y_weight"), weight)
    assert torch.equal(of(tree, "observed_data", "y"), y)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.label, self.size = nn.Linear(4, 6), nn.Linear(4, 6)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"label": self.label(x).unflatten(1, (2, 3)), "size": self.size(x)}


def test_several_heads(tmp_path: Path) -> None:
    y = {"label": torch.randint(3, (12, 2)), "size": torch.randn(12)}
    guide = VariationalDropout(BayesianNetwork(Two(), {"label": Categorical(), "size": MixtureOfNormals(2)}), log_sigma2=-4.0)
    data = to_inference_data(guide, (X, y), num_samples=5)
    write_inference_data(data, tmp_path / "data.nc")
    tree = to_tree(read_inference_data(tmp_path / "data.nc"))
    predicted = tree["posterior_predictive"]
    assert set(predicted.data_vars) == {"y.label", "y.label_probability", "y.size", "y.size_mean"}
    assert predicted["y.label_probability"].dims == ("chain", "draw", "example", "y.label_dim_0", "y.label_class")
    assert set(tree["observed_data"].data_vars) == {"y.label", "y.size"}
    each = of(tree, "log_likelihood", "y.label") + of(tree, "log_likelihood", "y.size")
    torch.testing.assert_close(of(tree, "log_likelihood", "y"), each)
    elpd = held_out_elpd(data)
    pointwise = of(tree, "log_likelihood", "y")[0].double().logsumexp(0) - np.log(5)
    assert float(elpd["elpd_loo"] if "elpd_loo" in getattr(elpd, "index", ()) else elpd.elpd) == pytest.approx(
        pointwise.sum().item(), rel=1e-5
    )
    torch.manual_seed(0)
    assert evaluate(guide, (X, y), num_samples=5).nll == pytest.approx(-pointwise.mean().item(), rel=1e-5)


def test_a_head_that_is_not_observed_is_predicted() -> None:
    tree = tree_of(Two(), {"label": Categorical(), "size": MixtureOfNormals(2)}, {"label": torch.randint(3, (12, 2))})
    assert "y.size" in tree["posterior_predictive"]
    assert "y.size" not in tree["observed_data"]
    assert "y.size" not in tree["log_likelihood"]
    assert torch.equal(of(tree, "log_likelihood", "y"), of(tree, "log_likelihood", "y.label"))
