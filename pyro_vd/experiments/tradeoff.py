"""Error against compression, steered by the threshold on log α and by the weight of the KL."""

from __future__ import annotations

import math

from pyro_vd.experiment_plots import log_alpha_histogram, tradeoff
from pyro_vd.experiments.setting import Outcome, Setting, new_pair, train
from pyro_vd.metrics import compression, error_rate
from pyro_vd.phases import TrainConfig
from pyro_vd.posterior import log_alpha
from pyro_vd.pruning import CANDIDATES, prune
from pyro_vd.schedules import KLWeight, LRSchedule

HELP = "error against compression: one training at many thresholds, and one training a KL weight; about 30 minutes"

PUBLISHED = {
    "magnitude (Han 2015)": (12.0, 1.59),
    "DNS (Guo 2016)": (56.0, 1.99),
    "soft weight sharing (Ullrich 2017)": (23.0, 1.94),
    "sparse VD (Molchanov 2017)": (68.0, 1.92),
}
"""Compression and test error, in %, of LeNet-300-100 in the literature."""


def run(setting: Setting) -> Outcome:
    """784-300-100-10 from scratch, 30 epochs, without fine-tuning and without augmented images; one seed.

    The KL weight rises over the first third of the epochs. Nothing is chosen here: every threshold and KL weight is shown
    with its test error. The recipe ``lenet-300-100`` goes further, see above.
    """
    data = setting.data()
    sizes = [data.x_train[0].numel(), *setting.full([300, 100], [40, 20]), 10]
    weights = setting.full([0.1, 0.3, 1.0, 2.0, 4.0, 8.0], [0.1, 1.0])
    epochs = setting.full(30, 25)
    by_weight: list[tuple[float, float, float]] = []
    by_threshold: list[tuple[float, float, float]] = []
    for weight in weights:
        config = TrainConfig(
            epochs=epochs,
            lr=setting.full(1e-3, 3e-3),
            lr_schedule=LRSchedule(kind="linear", after=0.5),
            log_sigma2=-8.0,
            kl_weight=KLWeight(weight, start=0, end=epochs / 3),
        )
        model, guide = new_pair(sizes, config, 0, "default")
        train((model, guide), config, (data.x_train, data.y_train), setting, f"KL weight {weight:g}")
        net = prune(model, guide)
        by_weight.append((weight, compression(net), 100 * error_rate(net, data.test)))
        if weight == 1.0:
            log_alphas = log_alpha(guide)
            for threshold in CANDIDATES:
                net = prune(model, guide, threshold)
                by_threshold.append((threshold, compression(net), 100 * error_rate(net, data.test)))

    by_threshold = [point for point in by_threshold if math.isfinite(point[1])]
    rows = [[f"KL weight {value:g}, threshold 3", f"{c:.1f}", f"{e:.2f}"] for value, c, e in by_weight]
    rows += [[f"KL weight 1, threshold {value:g}", f"{c:.1f}", f"{e:.2f}"] for value, c, e in by_threshold if value % 1 == 0]
    published = {} if setting.quick else PUBLISHED
    figures = {
        "tradeoff": tradeoff(by_threshold, by_weight, published),
        "log-alpha": log_alpha_histogram(log_alphas, 3.0),
    }
    series = {"by_threshold": by_threshold, "by_kl_weight": by_weight}
    return Outcome(["steered by", "compression", "test error %"], rows, figures, series)
