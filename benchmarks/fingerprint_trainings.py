"""Trainings of a few steps for the fingerprint, and what was trained, in parts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from fingerprint_networks import Arrays, diabetes, digits, mlp
from pyro.infer import SVI
from pyro.infer.autoguide import AutoNormal
from pyro.optim import ClippedAdam
from torch import Tensor, nn

import pyro_vd as vd
from pyro_vd.compaction import unit_counts
from pyro_vd.posterior.arviz_files import to_tree

Parts = dict[str, Any]


# What is looked at of a training


def train(
    guide: Callable[[Any], Any],
    data: tuple[Arrays, Arrays],
    net: nn.Module | None = None,
    likelihood: Any = None,
    prior: Any = vd.distributions.LogUniform,
    **options: Any,
) -> tuple[Any, Any, Any]:
    """A model, its guide, and what the training of both says."""
    model = vd.BayesianNetwork(mlp(64, 32, 10) if net is None else net, likelihood, prior=prior)
    posterior = guide(model)
    settings = {"epochs": 3, "batch_size": 50, "lr": 0.01, "kl_weight": 0.1, "rule": 0.0, "progress": False}
    return model, posterior, vd.fit(posterior, *data, **{**settings, **options})


def threshold_of(guide: Any) -> float:
    """The mean of log α: some weights are on either side of it, however short the training was."""
    return torch.cat([values.flatten() for values in vd.log_alpha(guide).values()]).double().mean().item()


def parameters(model: Any, guide: Any) -> Parts:
    return {"model": dict(model.named_parameters()), "guide": dict(guide.named_parameters())}


def inference_data(data: Any) -> Parts:
    """Every variable of every group."""
    return {node.path: {name: node[name].values for name in node.data_vars} for node in to_tree(data).subtree}


def training(guide: Callable[[Any], Any], data: Callable[[], tuple[Arrays, Arrays]], folder: Path, **options: Any) -> Parts:
    """All that is said of one: posterior, predictions, what is pruned."""
    train_data, test = data()
    net = options.pop("net", lambda: None)()
    model, q, result = train(guide, (train_data, test), net, **options)
    parts: Parts = {"parameters": parameters(model, q), "history": result.history}
    parts["metrics"] = vd.evaluate(q, test, num_samples=3)
    parts["predictive"] = vd.posterior.predictive(q, test[0], num_samples=3)
    threshold = threshold_of(q) if q.learns_alpha else 0.0
    drawn = vd.to_inference_data(q, (test[0][:50], test[1][:50]), num_samples=3, rule=threshold)
    parts["inference data"] = inference_data(drawn)
    parts["mean"] = vd.posterior_mean(q)
    if q.learns_alpha:
        small = vd.prune(q, threshold)
        parts |= {
            "log α": vd.log_alpha(q),
            "summary": vd.posterior.summarize(q, threshold),
            "layers": vd.workflow.inspect_layers(q, test, threshold),
            "pruned": small,
            "pruned metrics": vd.evaluate(small, test, likelihood=model.likelihood),
            "compact": vd.compact(small, test[0][:2]),
        }
    return parts


def resumed(folder: Path) -> Parts:
    """A training that is stopped in its second epoch and goes on in a new model."""

    class Stop(vd.training.Callback):
        def on_step(self, state: vd.training.TrainingState) -> None:
            if state.epoch == 1 and state.step == 5:
                raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        train(vd.VariationalDropout, digits(), checkpoint=folder / "run.pt", callbacks=[Stop()])
    model, guide, result = train(vd.VariationalDropout, digits(), checkpoint=folder / "run.pt", resume=True)
    return {"parameters": parameters(model, guide), "history": result.history}


def with_svi(folder: Path) -> Parts:
    (x, y), _ = digits()
    model = vd.models.MLP([64, 32, 10], num_data=len(x))
    guide = vd.VariationalDropout(model)
    svi = SVI(model, guide, ClippedAdam({"lr": 3e-3}), loss=vd.VariationalDropoutELBO(kl_weight=0.5))
    losses = [svi.step(x[batch], y[batch]) for batch in torch.randperm(len(x)).split(50)]
    return {"losses": losses, "parameters": parameters(model, guide)}


class WithLatentScale(vd.BayesianNetwork):
    """Noise with a scale that has a prior, beside the weights."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        output = self.sample_output(x)[:, 0]
        with pyro.plate("data", len(x)), pyro.poutine.scale(scale=(self.num_data or len(x)) / len(x)):
            pyro.sample("y", dist.Normal(output, scale), obs=y)
        return output


def latent_site(folder: Path) -> Parts:
    data, test = diabetes(lambda y: ((y - 150) / 80).float())
    model = WithLatentScale(mlp(10, 20, 1), vd.models.Normal())
    guide = vd.VariationalDropout(model)
    guide.append(AutoNormal(pyro.poutine.block(model, hide=guide.site_names)))
    result = vd.fit(guide, data, epochs=2, batch_size=50, lr=0.01, progress=False)
    drawn = vd.to_inference_data(guide, test, num_samples=3)
    return {"parameters": parameters(model, guide), "history": result.history, "inference data": inference_data(drawn)}


# What is done with a trained network


def decisions(folder: Path) -> Parts:
    """What follows from a trained posterior: threshold, limits of units, fine-tuning, trust in predictions."""
    data, test = digits()
    model, guide, _ = train(vd.VariationalDropout, (data, test))
    p = vd.predict(guide, test[0], num_samples=3)
    foreign = vd.predict(guide, torch.rand(100, 64), num_samples=3)
    threshold = threshold_of(guide)
    few = vd.prune(guide, vd.PruningRule(threshold, max_inputs=[20, 8]))
    parts: Parts = {
        "threshold": vd.choose_threshold(guide, test, max_error_rise=0.05),
        "prediction": p,
        "plain prediction": vd.predict(few, test[0]),
        "risk and coverage": vd.evaluation.risk_coverage(p.log_p.exp(), test[1]),
        "foreign inputs": vd.evaluation.ood_metrics(p.entropy, foreign.entropy),
        "few units": few,
        "units": unit_counts(vd.surviving_units(few)),
    }
    elpd = vd.posterior.held_out_elpd(vd.to_inference_data(guide, test, num_samples=3))
    parts["held-out density"] = [elpd["elpd_loo"], elpd["se"]]
    parts["fine-tuned"] = [vd.fine_tune(few, data, epochs=1, progress=False).history, few]
    guide.apply_masks(vd.pruning.pruning_masks(guide, threshold))
    again = vd.fit(guide, data, epochs=1, noise="position", progress=False)
    return {**parts, "trained on with noise": [again.history, parameters(model, guide)]}
