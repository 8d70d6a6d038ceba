"""The report's numerics beside ours: each is run to its first step that is not finite, or to the end."""

from __future__ import annotations

from collections.abc import Iterator

import pyro
import torch
from torch import Tensor, nn

from pyro_vd.experiments.report_numerics import ReportNetwork
from pyro_vd.experiments.setting import Outcome, Setting
from pyro_vd.guides import VariationalDropout
from pyro_vd.inference.elbo import VariationalDropoutELBO
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.plots.experiments import losses
from pyro_vd.training.progress import Progress
from pyro_vd.workflow.model_config import ModelConfig

HELP = "the report's numerics beside ours to the first NaN or 100,000 steps; about 30 minutes"


def run(setting: Setting) -> Outcome:
    """Train ``report-mlp2`` (784-256-10, Adam, learning rate 0.01, log σ² −25) with the report's numerics and with ours.

    The report's numerics also run with the right weight of the data term. The report said that every variant of its numerics
    ends in NaN. Its formulas are written out in ``pyro_vd/experiments/report_numerics.py`` and used nowhere else. Loss,
    gradients and parameters are checked after each step; nothing is skipped or repaired.
    """
    data = setting.data()
    sizes = (data.x_train[0].numel(), setting.full(256, 64), 10)
    steps, batch, lr = setting.full(100_000, 3_000), setting.full(100, 50), 0.01
    count = len(data.x_train)

    def report(factor: float) -> nn.Module:
        return ReportNetwork(sizes, -25.0, factor)

    def ours() -> nn.Module:
        model = BayesianNetwork(ModelConfig(list(sizes), initial_theta="uniform-fan-out").build(), num_data=count)
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
        taken: list[tuple[int, float]] = []
        died = None
        end = "none", f"all {steps} steps finite"
        with Progress(label, 0, steps, setting.progress) as bar:
            for step, loss, broken in watched_steps(build(), (data.x_train, data.y_train), steps, batch, lr):
                if broken:
                    died, end = step, (str(step), f"{broken} is not finite")
                    break
                if step <= 100 or step % 50 == 0:
                    taken.append((step, loss.item()))
                bar.step()
        ends[label] = taken, died
        rows.append([label, *end])
    columns = ["numerics", "first non-finite step", "what"]
    return Outcome(columns, rows, {"stability": losses(ends)}, {"loss, first non-finite step": ends})


def watched_steps(
    loss_of: nn.Module, data: tuple[Tensor, Tensor], steps: int, batch: int, lr: float
) -> Iterator[tuple[int, Tensor, str | None]]:
    """Train with Adam, and yield for each step its number from 1, its loss, and the name of what is not finite, or None."""
    x, y = data
    parameters = dict(loss_of.named_parameters())
    optimizer = torch.optim.Adam(parameters.values(), lr=lr, fused=True)
    order = torch.empty(0, dtype=torch.long)
    for step in range(1, steps + 1):
        if len(order) < batch:
            order = torch.randperm(len(x))
        chosen, order = order[:batch], order[batch:]
        optimizer.zero_grad()
        loss = loss_of(x[chosen], y[chosen])
        loss.backward()
        gradients = {f"gradient of {name}": p.grad for name, p in parameters.items() if p.grad is not None}
        optimizer.step()
        values = {name: tensor.detach() for name, tensor in {"loss": loss, **gradients, **parameters}.items()}
        largest = torch.nn.utils.get_total_norm(values.values(), norm_type=torch.inf)
        broken = None if largest.isfinite() else next(name for name, tensor in values.items() if not tensor.isfinite().all())
        yield step, values["loss"], broken
