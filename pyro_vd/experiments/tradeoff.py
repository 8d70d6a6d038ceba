"""Error against compression, for several thresholds on log α and several weights of the KL."""

from __future__ import annotations

import math
from dataclasses import asdict

from pyro_vd.evaluation.deployed import kilobytes
from pyro_vd.evaluation.network_size import NetworkSize, network_size
from pyro_vd.evaluation.score import score_of
from pyro_vd.experiments.setting import Outcome, Setting, new_guide, train
from pyro_vd.guides import VariationalDropoutSettings, log_alpha
from pyro_vd.plots.posterior import log_alpha_histograms
from pyro_vd.plots.sizes import tradeoff
from pyro_vd.pruning.pruned import prune
from pyro_vd.pruning.threshold_choice import CANDIDATES
from pyro_vd.pruning.thresholds import DEFAULT_THRESHOLD
from pyro_vd.training.schedules import KLWeight, LRSchedule
from pyro_vd.workflow.phases import TrainConfig
from pyro_vd.workflow.tables import SIZES, size_spreads

HELP = "error against compression: one training at many thresholds, and one training per KL weight; about 20 minutes"

PUBLISHED = {
    "magnitude (Han 2015)": (12.0, 1.59),
    "DNS (Guo 2016)": (56.0, 1.99),
    "soft weight sharing (Ullrich 2017)": (23.0, 1.94),
    "sparse VD (Molchanov 2017)": (68.0, 1.92),
}
"""Compression and test error, in %, of LeNet-300-100 in the literature."""


def run(setting: Setting) -> Outcome:
    """Train 784-300-100-10 from scratch for 30 epochs, without fine-tuning and without augmented images; one seed.

    The KL weight rises over the first third of the epochs. Nothing is chosen here: every threshold and KL weight is shown
    with its test error. The recipe ``lenet-300-100`` prunes further.
    """
    data = setting.data()
    sizes = [data.x_train[0].numel(), *setting.full([300, 100], [40, 20]), 10]
    weights = setting.full([0.1, 0.3, 1.0, 2.0, 4.0, 8.0], [0.1, 1.0])
    epochs = setting.full(30, 25)
    by_weight: list[tuple[float, float, float]] = []
    by_threshold: list[tuple[float, float, float]] = []
    sizes_of: dict[tuple[float, float], NetworkSize] = {}
    for weight in weights:
        config = TrainConfig(
            epochs=epochs,
            lr=setting.full(1e-3, 3e-3),
            lr_schedule=LRSchedule(kind="linear", after=0.5),
            guide=VariationalDropoutSettings(-8.0),
            kl_weight=KLWeight(weight, start=0, end=epochs / 3),
        )
        guide = new_guide(sizes, config, 0, "default")
        train(guide, config, (data.x_train, data.y_train), setting, f"KL weight {weight:g}")
        net = prune(guide)
        size = sizes_of[weight, DEFAULT_THRESHOLD] = network_size(net, data.x_test)
        by_weight.append((weight, size.compression, 100 * score_of(net, data.test).value))
        if weight == 1.0:
            log_alphas = log_alpha(guide)
            for threshold in CANDIDATES:
                net = prune(guide, threshold)
                size = sizes_of[1, threshold] = network_size(net, data.x_test)
                by_threshold.append((threshold, size.compression, 100 * score_of(net, data.test).value))

    by_threshold = [point for point in by_threshold if math.isfinite(point[1])]
    steered = [((value, DEFAULT_THRESHOLD), error) for value, _, error in by_weight]
    steered += [((1.0, value), error) for value, _, error in by_threshold if value % 1 == 0]
    rows = [
        [f"KL weight {by[0]:g}, threshold {by[1]:g}", *size_spreads([asdict(sizes_of[by])]), f"{error:.2f}"]
        for by, error in steered
    ]
    published = {} if setting.quick else PUBLISHED
    kilobytes_of_weights = [_kilobytes(sizes_of[value, DEFAULT_THRESHOLD]) for value, *_ in by_weight]
    figures = {
        "tradeoff": tradeoff(by_threshold, by_weight, published, kilobytes_of_weights, DEFAULT_THRESHOLD),
        "log-alpha": log_alpha_histograms(log_alphas, DEFAULT_THRESHOLD),
    }
    series = {"by_threshold": by_threshold, "by_kl_weight": by_weight}
    return Outcome(["steered by", *SIZES, "test error %"], rows, figures, series)


def _kilobytes(size: NetworkSize) -> str:
    return kilobytes(size.deployed.sparse_bytes) if size.deployed else ""
