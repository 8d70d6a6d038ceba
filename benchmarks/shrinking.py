"""The same training with and without ``shrink=True``: seconds per epoch as the network thins, total time, error, compression.

The training is that of a recipe, without its pretraining and fine-tuning; times are processor times of one thread. The seconds
of a size are the median over its epochs, without the first one, before which the network was made smaller; the total has all.
Run ``python benchmarks/shrinking.py``; with ``--words`` an LSTM on short texts, whose vocabulary thins; with ``--recipe
lenet-300-100 --seeds 3`` the published network; ``--epochs`` makes it shorter, with the
warm-up of the KL divergence in proportion.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field, replace
from itertools import groupby
from statistics import median
from typing import Any

import pyro
import torch

from pyro_vd import evaluate, fit, prune
from pyro_vd.data.augmentation import RandomAffine
from pyro_vd.data.dataset import Arrays, Dataset
from pyro_vd.data.loading import load_data
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.guides import PointEstimate
from pyro_vd.guides.weight_guide import WeightGuide
from pyro_vd.networks.inputs import rows
from pyro_vd.networks.sizes import compression
from pyro_vd.training import Callback, TrainingState
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.recipe_files import parse_recipe, read_recipe
from pyro_vd.workflow.tables import spread


@dataclass
class Measured(Callback):
    """The processor time of every epoch, with what comes before it, and the number of weights that are trained in it."""

    seconds: list[float] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    last: float = 0.0

    def on_start(self, state: TrainingState) -> None:
        self.last = time.process_time()

    def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
        now = time.process_time()
        self.seconds.append(now - self.last)
        self.last = now
        self.weights.append(sum(w.numel() for name, w in state.loss_of.named_parameters() if name.endswith(".theta")))


@dataclass
class Result:
    """What a training has cost, and what it has made."""

    total: float
    measured: Measured
    error: float
    compression: float


def timed(guide: WeightGuide, recipe: Recipe, train: Arrays, options: dict[str, Any]) -> Measured:
    """Train with the recipe's augmentation and these options of ``fit``."""
    measured = Measured()
    fit(guide, train, **options, augment=recipe.augmentation, callbacks=[measured], progress=False)
    return measured


def train(recipe: Recipe, data: tuple[Arrays, Arrays], seed: int, shrink: bool) -> Result:
    """Train as a recipe says, with one seed."""
    pyro.set_rng_seed(seed)
    net = recipe.model.build(train=data[0])
    model = recipe.model.bayesian(net, recipe.model.build_likelihood(net))
    guide = recipe.train.guide.build_for(model, rows(data[0][0], slice(2)))
    started = time.process_time()
    measured = timed(guide, recipe, data[0], recipe.train.fit_options() | {"shrink": shrink, "rule": recipe.prune.rule()})
    total = time.process_time() - started
    net = prune(guide, recipe.prune.rule())
    return Result(total, measured, evaluate(net, data[1]).error, compression(net, model.weight_names))


def without_noise(recipe: Recipe, data: tuple[Arrays, Arrays], epochs: int = 4) -> float:
    """Median seconds per epoch of the ordinary training of the whole network, without the first epoch."""
    net = recipe.model.build(train=data[0])
    guide = PointEstimate(recipe.model.bayesian(net, recipe.model.build_likelihood(net)))
    measured = timed(guide, recipe, data[0], {"epochs": epochs, "batch_size": recipe.train.batch_size})
    return median(measured.seconds[1:])


def word_counts(seed: int = 0) -> Dataset:
    """Texts of 40 words out of 3,000. The class is which one of two lots of ten words has more words in the text."""
    torch.manual_seed(seed)
    frequency = 1 / torch.arange(1.0, 2981)
    x = 20 + torch.multinomial(frequency, 4000 * 40, replacement=True).reshape(4000, 40)
    telling = torch.rand(x.shape) < 0.15
    side = torch.rand(4000, 1)
    x[telling] = (torch.randint(10, x.shape) + 10 * (torch.rand(x.shape) < side))[telling]
    y = ((x < 20).long() * (2 * (x >= 10).long() - 1)).sum(1) > 0
    arrays = x, y.long()
    return Dataset("words", *rows(arrays, slice(3000)), *rows(arrays, slice(3000, None)))


def shortened(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with fewer epochs, of which the warm-up has the same share."""
    share, kl = epochs / recipe.train.epochs, recipe.train.kl_weight
    kl = replace(kl, start=kl.start * share, end=kl.end * share)
    return replace(recipe, train=replace(recipe.train, epochs=epochs, kl_weight=kl))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="digits", help="name or file of a recipe (default: digits)")
    parser.add_argument("--words", action="store_true", help="the recipe text, an LSTM, on texts that are made up")
    parser.add_argument("--epochs", type=int, help="epochs, in place of those of the recipe")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each kind (default: 1)")
    parser.add_argument("--plain", action="store_true", help="without the recipe's augmentation")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    content = read_recipe("text" if arguments.words else arguments.recipe)
    if arguments.words:
        content["model"]["args"] |= {"vocabulary": 3000, "classes": 2}
    recipe = parse_recipe(content)
    recipe = shortened(recipe, arguments.epochs) if arguments.epochs else recipe
    recipe = replace(recipe, augment=RandomAffine()) if arguments.plain else recipe
    data: Dataset = word_counts() if arguments.words else load_data(recipe.data.name, recipe.data.dir)
    pair = data.split(recipe.data.validation)[0], data.test
    seeds = range(arguments.seeds)
    results = {shrink: [train(recipe, pair, seed, shrink) for seed in seeds] for shrink in (False, True)}
    whole, small = (results[shrink][0].measured for shrink in (False, True))
    print("epochs     weights   seconds per epoch   of the whole network")
    first = 0
    for weights, epochs in groupby(small.weights):
        last = first + len(list(epochs))
        one, other = (median(each.seconds[first + (last - first > 1) : last]) for each in (small, whole))
        print(f"{first + 1:4}–{last:<4}{weights:10}{one:20.2f}{other:23.2f}")
        first = last
    for shrink, found in results.items():
        print(
            f"{'shrunk' if shrink else 'whole':8}{spread([each.total for each in found], 1)} s, "
            f"error {spread([100 * each.error for each in found], 2)} %, "
            f"compression {spread([each.compression for each in found], 1)}"
        )
    print(f"without noise, {without_noise(recipe, pair):.2f} s per epoch of the whole network")


if __name__ == "__main__":
    main()
