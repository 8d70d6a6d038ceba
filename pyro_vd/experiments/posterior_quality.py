"""The quality of the posterior: likelihood, calibration, refusal and foreign images, for five ways to predict."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from pyro_vd.data.dataset import Arrays
from pyro_vd.evaluation.classification import measure
from pyro_vd.evaluation.network_size import network_size
from pyro_vd.evaluation.prediction import Prediction, predict
from pyro_vd.evaluation.uncertainty import ood_metrics, risk_coverage
from pyro_vd.experiments.foreign_images import foreign_images
from pyro_vd.experiments.setting import Outcome, Setting, new_guide, train
from pyro_vd.guides import BernoulliDropoutSettings, PointEstimateSettings, VariationalDropoutSettings, WeightGuide
from pyro_vd.guides.means import posterior_mean
from pyro_vd.plots.uncertainty import error_against_coverage, reliability
from pyro_vd.pruning.pruned import prune
from pyro_vd.pruning.threshold_choice import choose_threshold
from pyro_vd.training.schedules import KLWeight, LRSchedule
from pyro_vd.workflow.phases import TrainConfig
from pyro_vd.workflow.tables import spread

_SIZES = {"parameters, compact": "parameters", "bytes": "bytes", "sparse bytes": "sparse_bytes"}

HELP = "calibration, refusal and foreign images: plain, Bernoulli and variational dropout, three seeds; about 15 minutes"


def run(setting: Setting) -> Outcome:
    """Train 784-300-100-10 on 55,000 images from scratch (Adam, learning rate 0.002, batches of 200) with three seeds.

    The other 5,000 images are for choices. By the likelihood of the first seed's predictive: the epochs of the plain network,
    the rate of Bernoulli dropout, the KL weight of variational dropout. For each seed: the threshold of the pruned network,
    the lowest that raises its error by at most 0.1 percentage points. Test images are used once, at the end.

    Monte Carlo dropout and the Monte Carlo predictive have 20 draws. FPR95 is the share of foreign images let through by a
    bound that lets 95 % of the test images through. docs/posterior-quality.md explains the measures and their limits.
    """
    data = setting.data()
    foreign = foreign_images(data, setting.data_dir)
    training, validation = data.split(setting.full(5000, 200))
    assert validation is not None
    sizes = [data.x_train[0].numel(), *setting.full([300, 100], [40]), 10]
    measured: dict[str, list[dict[str, float | None]]] = {}
    predictions: dict[str, list[Prediction]] = {}
    choice: dict[str, list[str]] = {}
    trials: dict[str, dict[str, float]] = {}
    for method, options in _options(setting).items():
        for seed in range(setting.full(3, 2)):
            guides: dict[str, WeightGuide] = {}
            for option, config in options.items():
                guides[option] = new_guide(sizes, config, seed)
                train(guides[option], config, training, setting, f"{method}, {option}, seed {seed}")
            if len(guides) > 1:
                trials[method] = {option: _nll(guide, validation) for option, guide in guides.items()}
                best = min(trials[method], key=trials[method].__getitem__)
                options = {best: options[best]}  # what further seeds train
            (option,) = options
            for name, (net, arguments, chosen) in _predictors(method, guides[option], option, validation).items():
                prediction = _predict(net, data.x_test, **arguments)
                outside = {title: _predict(net, x, **arguments) for title, x in foreign.items()}
                measured.setdefault(name, []).append(_measures(net, prediction, data.test, outside))
                predictions.setdefault(name, []).append(prediction)
                choice.setdefault(name, []).append(chosen)

    first = next(iter(measured.values()))[0]
    rows = [[key, *(_cell(key, [found[key] for found in seeds]) for seeds in measured.values())] for key in first]
    rows.append(["chosen", *(" / ".join(dict.fromkeys(options)) for options in choice.values())])
    curves = {name: [risk_coverage(p.log_p.exp(), data.y_test) for p in seeds] for name, seeds in predictions.items()}
    pooled = {
        name: (torch.cat([p.log_p.exp() for p in seeds]), data.y_test.repeat(len(seeds))) for name, seeds in predictions.items()
    }
    figures = {"reliability": reliability(pooled), "error-against-coverage": error_against_coverage(curves)}
    series = {"seeds": measured, "chosen": choice, "validation NLL": trials}
    return Outcome(["measure", *measured], rows, figures, series)


def _options(setting: Setting) -> dict[str, dict[str, TrainConfig]]:
    """The settings to choose from, by method and by name."""
    lengths, epochs = setting.full((5, 10, 25), (20, 40)), setting.full(25, 40)
    common: dict[str, Any] = {
        "batch_size": setting.full(200, 100),
        "lr": setting.full(2e-3, 5e-3),
        "lr_schedule": LRSchedule(kind="linear", after=0.5),
    }
    return {
        "plain": {f"{n} epochs": TrainConfig(epochs=n, guide=PointEstimateSettings(), **common) for n in lengths},
        "Bernoulli": {
            f"rate {p:g}": TrainConfig(epochs=epochs, guide=BernoulliDropoutSettings(p), **common)
            for p in setting.full((0.1, 0.3, 0.5), (0.2, 0.5))
        },
        "variational": {
            f"KL × {weight:g}": TrainConfig(
                epochs=epochs,
                guide=VariationalDropoutSettings(-8.0),
                kl_weight=KLWeight(weight, start=0, end=epochs / 2),
                **common,
            )
            for weight in setting.full((0.1, 0.3, 1.0), (0.3, 1.0))
        },
    }


def _predictors(
    method: str, guide: WeightGuide, option: str, validation: Arrays
) -> dict[str, tuple[nn.Module, dict[str, Any], str]]:
    """Networks by name, each with further arguments of :func:`predict` and a text that says what was chosen."""
    match method:
        case "plain":
            return {"plain": (posterior_mean(guide), {}, option)}
        case "Bernoulli":
            return {"MC dropout": (guide, {}, option)}
        case _:
            threshold = choose_threshold(guide, validation, 0.001).threshold
            return {
                "posterior mean": (posterior_mean(guide), {}, option),
                "Monte Carlo": (guide, {}, option),
                "pruned": (prune(guide, threshold), {}, f"log α < {threshold:g}"),
            }


def _predict(net: nn.Module, x: Any, **arguments: Any) -> Prediction:
    return cast(Prediction, predict(net, x, **arguments))


def _nll(guide: WeightGuide, data: Arrays) -> float:
    return -_predict(guide, data[0]).log_p.gather(1, data[1][:, None]).mean().item()


def _measures(net: nn.Module, prediction: Prediction, data: Arrays, foreign: dict[str, Prediction]) -> dict[str, float | None]:
    metrics = measure(prediction, data[1], size := network_size(net, data[0]))
    found: dict[str, float | None] = {
        "error %": 100 * metrics.error,
        "NLL": metrics.nll,
        "Brier": metrics.brier,
        "ECE %, equal width": 100 * metrics.ece,
        "ECE %, equal mass": 100 * metrics.ece_equal_mass,
        "AURC %": 100 * risk_coverage(prediction.log_p.exp(), data[1]).mean().item(),
        "entropy": metrics.entropy,
        "mutual information": metrics.mutual_information,
        "compression": metrics.compression,
        **{title: getattr(size.deployed, key, None) for title, key in _SIZES.items()},
    }
    for title, outside in foreign.items():
        by_entropy = ood_metrics(prediction.entropy, outside.entropy)
        found[f"{title}: AUROC"] = by_entropy.auroc
        found[f"{title}: FPR95 %"] = 100 * by_entropy.fpr95
        mutual = prediction.mutual_information, outside.mutual_information
        informed = None if mutual[0] is None or mutual[1] is None else ood_metrics(mutual[0], mutual[1]).auroc
        found[f"{title}: AUROC, MI"] = informed
    return found


def _cell(key: str, values: list[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    digits = 2 if "%" in key and "AURC" not in key else {"compression": 1, **dict.fromkeys(_SIZES, 0)}.get(key, 3)
    return spread(numbers, digits) if numbers else "–"
