"""Test accuracy against the dropout rate: Bernoulli and Gaussian dropout, and variational dropout, which has no rate."""

from __future__ import annotations

from collections.abc import Callable

from pyro_vd.evaluation.score import score_of
from pyro_vd.experiments.setting import Outcome, Setting, new_guide, train
from pyro_vd.guides import BernoulliDropoutSettings, GaussianDropoutSettings, GuideSettings, VariationalDropoutSettings
from pyro_vd.plots.experiments import bands
from pyro_vd.pruning.pruned import pruned_or_mean
from pyro_vd.workflow.phases import TrainConfig
from pyro_vd.workflow.tables import spread

HELP = "test accuracy against the dropout rate, three seeds; about 40 minutes"

KINDS: dict[str, Callable[[float], GuideSettings]] = {
    "Bernoulli, on units": BernoulliDropoutSettings,
    "Gaussian, on units": lambda p: GaussianDropoutSettings(p, noise_on="unit"),
    "Gaussian, on weights": GaussianDropoutSettings,
}
"""The settings of a guide by its rate p."""


def run(setting: Setting) -> Outcome:
    """Train 784-256-10 as in the report (Adam, learning rate 0.01, batches of 100) for five epochs at each rate.

    The experiment departs from the report where the report was wrong: Gaussian noise is drawn for each example and unit (or
    weight), not once for the whole batch and layer; the output layer is never dropped; there is no noise at test time.
    """
    data = setting.data()
    train_data = data.x_train, data.y_train
    rates = setting.full([k / 10 for k in range(10)], [0.0, 0.5, 0.9])
    seeds = setting.full(3, 2)
    epochs, hidden = setting.full(5, 3), setting.full(256, 64)
    sizes = [data.x_train[0].numel(), hidden, 10]

    def accuracies(config: TrainConfig, phase: str) -> list[float]:
        found = []
        for seed in range(seeds):
            guide = new_guide(sizes, config, seed)
            train(guide, config, train_data, setting, f"{phase}, seed {seed}")
            found.append(1 - score_of(pruned_or_mean(guide), data.test).value)
        return found

    curves = {
        label: [accuracies(TrainConfig(epochs=epochs, lr=0.01, guide=settings(p)), f"{label}, p {p:g}") for p in rates]
        for label, settings in KINDS.items()
    }
    variational = accuracies(TrainConfig(epochs=epochs, lr=0.01, guide=VariationalDropoutSettings(-25.0)), "variational")
    rows = [[label, *(_percent(values) for values in curve)] for label, curve in curves.items()]
    rows.append(["variational, pruned at log α 3", _percent(variational), *("" for _ in rates[1:])])
    figure = bands(
        {label: (rates, curve) for label, curve in curves.items()},
        level=("variational, no rate", variational),
        labels=("dropout rate p", "test accuracy"),
        title=f"{'-'.join(map(str, sizes))}, {epochs} epochs, mean and range of {seeds} seeds",
    )
    series = {"rates": rates, "curves": curves, "variational": variational, "epochs": epochs}
    return Outcome(["accuracy % at p", *(f"{p:g}" for p in rates)], rows, {"dropout-rates": figure}, series)


def _percent(values: list[float]) -> str:
    return spread([100 * value for value in values], 2)
