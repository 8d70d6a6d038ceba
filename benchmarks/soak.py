"""Never NaN: the report's networks for 100,000 steps, and 20,000 at ten times the learning rate; count what is not finite.

Hyper-parameters are those of ``runs/report-mlp2.yaml`` and ``runs/report-mlp3.yaml``, on MNIST. Loss, every gradient and every
parameter are looked at after each step; nothing is skipped or repaired. Run ``python benchmarks/soak.py``; a run ends at
its first value that is not finite, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
import time

import pyro
import torch

from pyro_vd import BayesianNetwork, VariationalDropoutELBO
from pyro_vd.data.loading import load_data
from pyro_vd.experiments.stability import watched_steps
from pyro_vd.workflow.recipe import Recipe
from pyro_vd.workflow.recipe_files import parse_recipe, read_recipe

RUNS = [("report-mlp2", 1, 100_000), ("report-mlp3", 1, 100_000), ("report-mlp2", 10, 20_000), ("report-mlp3", 10, 20_000)]


def soak(recipe: Recipe, factor: int, steps: int) -> int | None:
    """The first step at which a loss, gradient or parameter is not finite; None if all of ``steps`` are."""
    data = load_data(recipe.data.name, recipe.data.dir)
    pyro.set_rng_seed(recipe.seed)
    model = BayesianNetwork(recipe.model.build(), num_data=len(data.x_train))
    elbo = VariationalDropoutELBO()
    loss_of = elbo(model, recipe.train.guide.build(model))
    batch, lr = recipe.train.batch_size, factor * recipe.train.lr
    started = time.perf_counter()
    for step, loss, broken in watched_steps(loss_of, (data.x_train, data.y_train), steps, batch, lr):
        if broken:
            return step
        if step % 2000 == 0:
            print(f"  {step} steps, loss {loss.item():.0f}, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, help="steps of each run (default: 100,000 and 20,000)")
    parser.add_argument("--only", choices=sorted({name for name, _, _ in RUNS}), help="only this recipe")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    failed = False
    for name, factor, default in RUNS:
        if arguments.only in (None, name):
            recipe = parse_recipe(read_recipe(name))
            steps = arguments.steps or default
            bad = soak(recipe, factor, steps)
            failed |= bad is not None
            what = "all finite, none skipped" if bad is None else f"NOT FINITE at step {bad}"
            print(f"{name}, learning rate {factor * recipe.train.lr:g}: {steps} steps, {what}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
