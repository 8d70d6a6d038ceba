"""What a step costs with denormal numbers as they are, and with zeros in their place, as in ``fit``: the two take turns.

The LSTM is that of the recipe ``imdb-lstm``, before its training: gradients vanish on their way back through 200 words. In the
other network, half of all means and of Adam's means of gradients are denormal, as at the end of a long training.
Run ``python benchmarks/denormals.py``, or with ``--threads 2``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from unittest.mock import patch

import torch
from torch import Tensor, nn

from pyro_vd import BayesianNetwork, VariationalDropout, VariationalDropoutELBO
from pyro_vd.networks import lstm_classifier, mlp
from pyro_vd.training.fused_adam import FusedAdam
from pyro_vd.training.vanished import clear_vanished

Before = Callable[[VariationalDropout, FusedAdam], object]
"""What is done before a step."""


def seconds(net: nn.Module, x: Tensor, rounds: int, before: dict[str, Before]) -> dict[str, float]:
    """Median seconds of a step, by what was done before it."""
    guide = VariationalDropout(BayesianNetwork(net, num_data=60_000))
    elbo = VariationalDropoutELBO()
    adam = FusedAdam([{"params": list(elbo(guide.model, guide).parameters())}], lr=0.0)
    y = torch.randint(2, (len(x),))
    found: dict[str, list[float]] = {name: [] for name in before}
    for _ in range(rounds):
        for name, prepare in before.items():
            prepare(guide, adam)
            started = time.perf_counter()
            adam.zero_grad()
            elbo.backward(guide.model, guide, x, y)
            adam.step()
            found[name].append(time.perf_counter() - started)
    return {name: median(times[1:]) for name, times in found.items()}


@torch.no_grad()
def vanish(guide: VariationalDropout, adam: FusedAdam) -> None:
    """Make half of all means and of Adam's means of their gradients denormal."""
    for name in guide.site_names:
        theta = guide.site(name).theta
        theta.view(-1)[::2] = 1e-39
        if state := adam.state.get(theta):
            state["exp_avg"].view(-1)[::2] = 6e-45


def vanish_and_clear(guide: VariationalDropout, adam: FusedAdam) -> None:
    """Do as ``fit`` does at the end of an epoch."""
    vanish(guide, adam)
    clear_vanished(guide, adam)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="threads of torch")
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    unflushed = patch("pyro_vd.inference.elbo.without_denormals", lambda model, loss, backward: backward())
    of_lstm: dict[str, Before] = {"as they are": lambda *_: unflushed.start(), "as zeros": lambda *_: unflushed.stop()}
    texts, images = torch.randint(20_000, (128, 200)), torch.rand(100, 784)
    rows = {
        "LSTM 300-128, 200 words, gradients that vanish": seconds(lstm_classifier(), texts, 6, of_lstm),
        "784-300-100-10, half of the means denormal": seconds(
            mlp([784, 300, 100, 10]), images, 60, {"as they are": vanish, "as zeros": vanish_and_clear}
        ),
    }
    for network, found in rows.items():
        print(f"{network}, ms per step: " + ", ".join(f"{1e3 * value:.1f} {name}" for name, value in found.items()))


if __name__ == "__main__":
    main()
