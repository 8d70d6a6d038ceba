"""The report's numerics beside ours, each to its first step that is not finite, or to the end."""

from __future__ import annotations

import math

import pyro
import torch
from torch import Tensor, nn

from pyro_vd.elbo import VariationalDropoutELBO
from pyro_vd.experiment_plots import losses
from pyro_vd.experiments.report_numerics import ReportNetwork
from pyro_vd.experiments.setting import Outcome, Setting
from pyro_vd.guides import VariationalDropout
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.progress import Progress
from pyro_vd.recipe import ModelConfig

HELP = "the report's numerics beside ours to the first NaN or 100,000 steps; about 30 minutes"


def run(setting: Setting) -> Outcome:
    """``report-mlp2``: 784-256-10, Adam, rate 0.01, log σ² −25; the report's also with the data term weighted right.

    The report said that every variant of its numerics ends in NaN. Its formulas are written out in
    ``pyro_vd/experiments/report_numerics.py`` and used nowhere else. Loss, gradients and parameters are looked at after
    each step; nothing is skipped or repaired.
    """
    data = setting.data()
    sizes = (data.x_train[0].numel(), setting.full(256, 64), 10)
    steps, batch, lr = setting.full(100_000, 3_000), setting.full(100, 50), 0.01
    count = len(data.x_train)

    def report(factor: float) -> nn.Module:
        return ReportNetwork(sizes, -25.0, factor)

    def ours() -> nn.Module:
        model = BayesianNetwork(ModelConfig(list(sizes), "uniform-fan-out").build(), num_data=count)
        loss_of: nn.Module = VariationalDropoutELBO()(model, VariationalDropout(model, -25.0))
        return loss_of

    contenders = {
        "the report's": lambda: report(count / batch),
        "the report's, data term weighted right": lambda: report(count),
        "pyro_vd": ours,
    }
    rows, ends = [], {}
    for label, build in contenders.items():
        pyro.set_rng_seed(0)
        torch.set_num_threads(1)
        taken, died, where = _train(build(), (data.x_train, data.y_train), steps, batch, lr, label, setting.progress)
        ends[label] = taken, died
        rows.append([label, "none" if died is None else f"{died}", where or f"all {steps} steps finite"])
    columns = ["numerics", "first non-finite step", "what"]
    return Outcome(columns, rows, {"stability": losses(ends)}, {"loss, first non-finite step": ends})


def _train(
    loss_of: nn.Module, data: tuple[Tensor, Tensor], steps: int, batch: int, lr: float, label: str, progress: bool
) -> tuple[list[tuple[int, float]], int | None, str | None]:
    """(step, loss) now and then; the first step at which a loss, gradient or parameter is not finite, and which of them."""
    x, y = data
    parameters = dict(loss_of.named_parameters())
    optimizer = torch.optim.Adam(parameters.values(), lr=lr, fused=True)
    taken: list[tuple[int, float]] = []
    order = torch.empty(0, dtype=torch.long)
    with Progress(label, 0, steps, progress) as bar:
        for step in range(1, steps + 1):
            if len(order) < batch:
                order = torch.randperm(len(x))
            chosen, order = order[:batch], order[batch:]
            optimizer.zero_grad()
            loss = loss_of(x[chosen], y[chosen])
            loss.backward()
            gradients = {f"gradient of {name}": p.grad for name, p in parameters.items() if p.grad is not None}
            optimizer.step()
            for what, tensor in {"loss": loss, **gradients, **parameters}.items():
                if not math.isfinite(tensor.detach().abs().max().item()):
                    return taken, step, f"{what} is not finite"
            if step <= 100 or step % 50 == 0:
                taken.append((step, loss.item()))
            bar.step()
    return taken, None, None
