"""Functions of the installed version of ArviZ, applied to our data: their results against the known posterior."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from posterior_support import EXAMPLES, known_data, known_pair, monte_carlo_error
from scipy.integrate import trapezoid
from support import refuses

from pyro_vd import VariationalDropout, evaluate, log_alpha, to_inference_data
from pyro_vd.models import MLP
from pyro_vd.posterior import held_out_elpd
from pyro_vd.posterior.arviz_files import has_data_tree, import_arviz, to_tree

mpl.use("Agg")
az = import_arviz()

pytestmark = [  # warnings of ArviZ 0.23 with newer matplotlib and pandas
    pytest.mark.filterwarnings("ignore:Passing a dict or None as alias_mapping"),
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.sort_values"),
]

DRAWS = 1000


@pytest.fixture(scope="module")
def known() -> Iterator[tuple[VariationalDropout, Any]]:
    """Yield a guide of known means and deviations, and its data with all weights."""
    torch.set_num_threads(1)
    _model, guide = known_pair()
    yield guide, to_inference_data(guide, known_data(), num_samples=DRAWS, weights="all")
    mpl.pyplot.close("all")


def figure_of(drawn: Any) -> Figure:
    """Return the figure of the result of a plot function, for both versions of ArviZ."""
    figure = drawn.viz["figure"].item() if has_data_tree() else np.ravel(drawn)[0].figure
    assert isinstance(figure, Figure)
    return figure


def lines_of(figure: Figure) -> list[Line2D]:
    return [line for axes in figure.axes for line in axes.lines if len(line.get_xdata())]


def moments(guide: VariationalDropout, name: str) -> tuple[np.ndarray, np.ndarray]:
    q = guide.posterior(name)
    return q.mean.detach().numpy(), q.variance.detach().sqrt().numpy()


def test_summary(known: tuple[VariationalDropout, Any]) -> None:
    guide, data = known
    table = az.summary(data, kind="stats", round_to="none")
    assert not {"r_hat", "ess_bulk", "ess_tail"} & set(table.columns)
    assert len(table) == sum(values.numel() for values in log_alpha(guide).values())
    for name in guide.site_names:
        mean, sd = moments(guide, name)
        for (row, column), expected in np.ndenumerate(mean):
            entry = table.loc[f"{name}[{row}, {column}]"]
            assert abs(entry["mean"] - expected) < 4.5 * sd[row, column] / math.sqrt(DRAWS)
            assert abs(entry["sd"] / sd[row, column] - 1) < 4.5 / math.sqrt(2 * DRAWS)


@pytest.mark.parametrize("call", ["plot_dist", "plot_trace_dist"] if has_data_tree() else ["plot_posterior", "plot_trace"])
def test_densities_and_traces(known: tuple[VariationalDropout, Any], call: str) -> None:
    guide, data = known
    options = {"compact": False} if "trace" in call else {}
    lines = lines_of(figure_of(getattr(az, call)(data, var_names=["1.weight"], coords={"1.out": [2]}, **options)))
    curves = [line.get_xydata() for line in lines if len(line.get_xdata()) not in (2, DRAWS)]
    assert len(curves) == 6
    mean, sd = (values[2] for values in moments(guide, "1.weight"))
    for place, curve in enumerate(np.asarray(curves)):
        x, density = curve.T
        density = density / trapezoid(density, x)
        centre = trapezoid(x * density, x)
        assert abs(centre - mean[place]) < 5 * sd[place] / math.sqrt(DRAWS)
        assert math.sqrt(trapezoid((x - centre) ** 2 * density, x)) == pytest.approx(sd[place], rel=0.15)
    if "trace" in call:
        traces = {line.get_ydata().tobytes() for line in lines if len(line.get_ydata()) == DRAWS}
        assert traces == {draws.tobytes() for draws in to_tree(data)["posterior"]["1.weight"].values[0, :, 2].T}


def test_posterior_predictive(known: tuple[VariationalDropout, Any]) -> None:
    """There is one distribution function per draw of all labels, and one of the observed labels."""
    _, data = known
    few = to_tree(data).isel(draw=slice(50), missing_dims="ignore") if has_data_tree() else data.isel(draw=slice(50))
    if has_data_tree():
        drawn = az.plot_ppc_dist(few, var_names=["y"], kind="ecdf", num_samples=50)
    else:
        drawn = az.plot_ppc(few, kind="cumulative", num_pp_samples=50)
    curves = [line.get_xydata().T for line in lines_of(figure_of(drawn))]
    found = np.array([[y[x < k + 0.5].max() for k in (0, 1, 2)] for x, y in curves])
    labels = [known_data()[1].numpy(), *to_tree(few)["posterior_predictive"]["y"].values[0]]
    assert len(labels) == 51
    for values in labels:
        expected = [(values <= k).mean() for k in (0, 1, 2)]
        assert np.isclose(found, expected, atol=1.01 / EXAMPLES).all(1).any()


def test_held_out_density(known: tuple[VariationalDropout, Any]) -> None:
    _, data = known
    elpd = held_out_elpd(data)
    pointwise = np.log(np.exp(to_tree(data)["log_likelihood"]["y"].values[0].astype(float)).mean(0))
    assert elpd["elpd" if has_data_tree() else "elpd_loo"] == pytest.approx(pointwise.sum(), rel=1e-6)
    assert elpd["se"] == pytest.approx(pointwise.std() * math.sqrt(EXAMPLES), rel=1e-6)
    assert f"{pointwise.sum():.1f}"[:5] in str(elpd)
    assert f"{elpd['se']:.2f}" in str(elpd)
    assert "loo" not in str(elpd), "it is not a leave-one-out estimate"
    assert has_data_tree() or "nan" not in str(elpd)
    assert str(elpd) == repr(elpd)
    assert pickle.loads(pickle.dumps(elpd))["se"] == elpd["se"]
    _model, guide = known_pair()
    other = evaluate(guide, known_data(), num_samples=DRAWS).nll
    error = monte_carlo_error(to_tree(data)["log_likelihood"]["y"].values[0])
    assert 0 < error < 0.05
    assert -pointwise.mean() == pytest.approx(other, abs=4.5 * math.sqrt(2) * error)
    with refuses("data", ["observed_data"], "log_likelihood", "'y'"):
        held_out_elpd(to_tree(data).filter(lambda node: node.name in (None, "observed_data")))


def compared(models: Mapping[str, Any]) -> Any:
    """Return the table of ``az.compare`` with the column names of ArviZ 1.x."""
    elpds = {name: held_out_elpd(data) for name, data in models.items()}
    if has_data_tree():
        return az.compare(elpds, round_to="none")
    table = az.compare(elpds)
    return table.rename(columns={"elpd_loo": "elpd"}).assign(elpd_diff=-table["elpd_diff"])


def test_compare() -> None:
    """The labels come from the first model, so that it is better, by a difference that is known per example."""
    torch.manual_seed(2)
    right, wrong = MLP((6, 5, 3)), MLP((6, 5, 3))
    x, _ = known_data()
    weights = {name: 3 * torch.randn_like(weight) for name, weight in right.initial_weights.items()}
    y = torch.distributions.Categorical(logits=right.output(weights, x)).sample()
    guides = []
    for model in (right, wrong):
        guides.append(VariationalDropout(model, log_sigma2=-8.0))
        with torch.no_grad():
            for name, weight in weights.items():
                guides[-1].site(name).theta.copy_(weight if model is right else 0.1 * weight)
    models = {"wrong": to_inference_data(guides[1], (x, y)), "right": to_inference_data(guides[0], (x, y))}
    table = compared(models)
    assert table.index.tolist() == ["right", "wrong"]
    pointwise = {
        name: torch.tensor(to_tree(data)["log_likelihood"]["y"].values[0]).double().logsumexp(0) - math.log(100)
        for name, data in models.items()
    }
    difference = pointwise["wrong"] - pointwise["right"]
    assert table.loc["wrong", "elpd_diff"] == pytest.approx(difference.sum().item(), rel=1e-4)
    assert table.loc["wrong", "dse"] == pytest.approx(difference.std(correction=0).item() * math.sqrt(EXAMPLES), rel=1e-4)
    assert table.loc["wrong", "elpd_diff"] < -4 * table.loc["wrong", "dse"]
    assert table.loc["right", "weight"] > 0.9
