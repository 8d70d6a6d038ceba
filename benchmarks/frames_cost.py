"""What recording ten frames an epoch costs report-mlp3, in processor time, in one process, in two ways.

Short trainings of 110 steps with a frame every 55, as in the recipe on all its images, with and without the recorder in
turn: the ratio of the two, and the share that is spent inside the recorder. On noise in MNIST's shape. Run ``python
benchmarks/frames_cost.py``; exit code 1 where the share is 2 % or more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from pyro_vd import BayesianNetwork, fit
from pyro_vd.evaluation.epoch_record import EpochRecord
from pyro_vd.training import FrameRecorder, TrainingState
from pyro_vd.workflow.recipe_files import parse_recipe, read_recipe

STEPS_A_FRAME, FRAMES = 55, 2
ALLOWED = 0.02


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=21, help="trainings with and without")
    pairs = parser.parse_args().pairs
    torch.set_num_threads(1)
    torch.manual_seed(0)
    recipe = parse_recipe(read_recipe("report-mlp3"))
    steps = STEPS_A_FRAME * FRAMES
    x = torch.rand(steps * recipe.train.batch_size, 28, 28) * (torch.rand(28, 28) < 0.5)
    train = x, torch.arange(len(x)) % 10
    model = BayesianNetwork(recipe.model.build())
    guide = recipe.train.guide.build(model)

    with tempfile.TemporaryDirectory() as folder:
        inside: list[float] = []

        class Timed(FrameRecorder):
            """Measures the processor time inside the recorder, without the one frame before training."""

            def on_step(self, state: TrainingState) -> None:
                with timed():
                    super().on_step(state)

            def on_epoch(self, state: TrainingState, record: EpochRecord) -> None:
                with timed():
                    super().on_epoch(state, record)

        @contextmanager
        def timed() -> Iterator[None]:
            started = time.process_time()
            yield
            inside[-1] += time.process_time() - started

        def seconds(recorded: bool) -> float:
            inside.extend([0.0] if recorded else [])
            started = time.process_time()
            settings = {"batch_size": recipe.train.batch_size, "lr": recipe.train.lr, "rule": recipe.prune.threshold}
            callbacks = [Timed(Path(folder), FRAMES, train, "training")] if recorded else []
            fit(guide, train, epochs=1, **settings, progress=False, callbacks=callbacks)
            return time.process_time() - started

        seconds(True)
        ratios, shares, without = [], [], []
        for pair in range(pairs):
            first = seconds(bool(pair % 2))
            second = seconds(not pair % 2)
            plain, recorded = (second, first) if pair % 2 else (first, second)
            without.append(plain)
            ratios.append(recorded / plain)
            shares.append(inside[-1] / (recorded - inside[-1]))
    cost = statistics.median(ratios) - 1
    error = 1.25 * statistics.stdev(ratios) / pairs**0.5  # of a median
    print(f"a step without frames {1e3 * statistics.median(without) / steps:.2f} ms; {STEPS_A_FRAME} steps a frame")
    share = statistics.median(shares)
    print(f"with frames / without: {100 * cost:+.2f} % ± {100 * error:.2f} %, the median of {pairs} pairs")
    print(f"inside the recorder: {100 * share:.2f} % of the rest, from {100 * min(shares):.2f} to {100 * max(shares):.2f} %")
    sys.exit(share >= ALLOWED)


if __name__ == "__main__":
    main()
