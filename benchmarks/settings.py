"""What β, the number of epochs, the threshold and the first log σ² do, on digits: the pictures of docs/choose.md.

Run ``python benchmarks/settings.py``, some minutes; it writes docs/settings-*.png and prints the numbers.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from matplotlib.ticker import NullLocator
from torch import nn

from pyro_vd import BayesianNetwork, KLWeight, VariationalDropout, evaluate, fit, load_data, log_alpha, prune
from pyro_vd._core.storage import save_figure
from pyro_vd.networks import mlp
from pyro_vd.plots.figure import Figure
from pyro_vd.plots.style import COLOURS, INK, MARKERS, MUTED, ratios, signed, styled

DOCS = Path(__file__).resolve().parent.parent / "docs"
SEEDS = (0, 1, 2)
BETAS = (0.03, 0.1, 0.3, 1.0, 3.0)
EPOCHS = (10, 20, 40, 80, 160)
STARTS = (-10.0, -8.0, -6.0, -4.0)
THRESHOLDS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
BATCH, RATE = 50, 3e-3

Point = tuple[float, float]
"""Test error in %, and how many times fewer weights there are."""


def trained(
    seed: int, beta: float = 0.3, epochs: int = 60, start: float = -6.0, net: nn.Module | None = None
) -> VariationalDropout:
    """A guide for 64-100-10, with a warm-up of a third of the epochs."""
    torch.manual_seed(seed)
    guide = VariationalDropout(BayesianNetwork(net or mlp([64, 100, 10])), log_sigma2=start)
    warm_up = KLWeight(beta, end=epochs // 3)
    fit(guide, DATA, epochs=epochs, batch_size=BATCH, lr=RATE, kl_weight=warm_up, progress=False)
    return guide


def plain(seed: int) -> nn.Module:
    """The network, trained without noise."""
    torch.manual_seed(seed)
    net = mlp([64, 100, 10])
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    x, y = DATA.x_train, DATA.y_train
    for _ in range(40):
        for batch in torch.randperm(len(x)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
    return net


def measured(guide: VariationalDropout, threshold: float = 3.0) -> Point:
    """Error and compression of the pruned network."""
    metrics = evaluate(prune(guide, threshold), DATA.test)
    return 100 * metrics.score.value, metrics.compression


def line(values: Sequence[float], point: Callable[[int, float], Point]) -> list[Point]:
    """Per value, the medians over the seeds: a network without a weight has an infinite compression, and no mean."""
    found = []
    for value in values:
        errors, compressions = zip(*(point(seed, value) for seed in SEEDS), strict=True)
        found.append((statistics.median(errors), statistics.median(compressions)))
    return found


@styled()
def draw(name: str, label: str, values: Sequence[float], lines: Mapping[str, Sequence[Point]], logarithmic: bool) -> Figure:
    """Error and compression, side by side, against a setting."""
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, place, what in zip(panels, (0, 1), ("test error %", "times fewer weights"), strict=True):
        for (title, points), colour, marker in zip(lines.items(), COLOURS, MARKERS, strict=False):
            axes.plot(values, [point[place] for point in points], marker=marker, color=colour, label=title)
        axes.set(xlabel=label, ylabel=what, yscale="log")
        ratios(axes.yaxis)
        if logarithmic:
            axes.set_xscale("log")
        axes.set_xticks(values, [signed(value) for value in values])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid()
    if len(lines) > 1:
        panels[0].legend()
    print(name, *(f"{title}: {[(round(e, 1), round(c, 1)) for e, c in points]}" for title, points in lines.items()), sep="\n  ")
    return figure


@styled()
def threshold_figure(guides: Sequence[VariationalDropout]) -> Figure:
    """Error and compression against the threshold, beside the histogram of log α of the first seed."""
    points = line(THRESHOLDS, lambda seed, threshold: measured(guides[seed], threshold))
    figure = draw("threshold", "threshold on log α", THRESHOLDS, {"median of three seeds": points}, logarithmic=False)
    figure.set_size_inches(10, 2.8)
    wide = figure.add_gridspec(1, 3)
    for place, axes in enumerate(figure.axes, start=1):
        axes.set_subplotspec(wide[place])
    histogram = figure.add_subplot(wide[0])
    values = torch.cat([each.flatten() for each in log_alpha(guides[0]).values()]).clamp(-6, 10)
    histogram.hist(values.tolist(), bins=32, color=MUTED)
    histogram.axvline(3, color=INK, linestyle="--")
    histogram.set(xlabel="log α, those above 10 at 10", ylabel="weights", yscale="log")
    for axes in figure.axes[:2]:
        axes.axvline(3, color=INK, linestyle="--", linewidth=1)
    return figure


def main() -> None:
    torch.set_num_threads(1)
    nets = [plain(seed) for seed in SEEDS]
    starts = {
        "new network": line(STARTS, lambda seed, start: measured(trained(seed, start=start))),
        "new network, 10 epochs": line(STARTS, lambda seed, start: measured(trained(seed, epochs=10, start=start))),
        "trained network": line(STARTS, lambda seed, start: measured(trained(seed, start=start, net=nets[seed]))),
    }
    betas = {"β": line(BETAS, lambda seed, beta: measured(trained(seed, beta=beta)))}
    epochs = {"epochs": line(EPOCHS, lambda seed, epochs: measured(trained(seed, epochs=int(epochs))))}
    figures = {
        "beta": draw("β", "β, the weight of the KL", BETAS, betas, logarithmic=True),
        "epochs": draw("epochs", "epochs of 29 steps", EPOCHS, epochs, logarithmic=True),
        "threshold": threshold_figure([trained(seed) for seed in SEEDS]),
        "log-sigma2": draw("log σ²", "log σ² at the start", STARTS, starts, logarithmic=False),
    }
    for name, figure in figures.items():
        save_figure(figure, DOCS / f"settings-{name}.png")


DATA = load_data("digits")

if __name__ == "__main__":
    main()
