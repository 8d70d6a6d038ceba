"""What ``fingerprint.py`` takes digests of, in Python: by name, a function that gives the parts of a result.

Each is given an empty folder, and torch's generator at the same seed. Trainings take a few steps, enough to show what they do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from fingerprint_networks import Arrays, Residual, convnet, diabetes, digits, mlp, thinned, transposed
from pyro.infer import SVI
from pyro.infer.autoguide import AutoNormal
from pyro.optim import ClippedAdam
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributions import kl_divergence, register_kl

import pyro_vd as vd
from pyro_vd.networks.flops import network_cost
from pyro_vd.posterior.arviz_files import to_tree
from pyro_vd.runtime.csr import CSRNetwork

Parts = dict[str, Any]


@register_kl(vd.distributions.MultiplicativeNormal, dist.Normal)
def _kl(q: vd.distributions.MultiplicativeNormal, p: dist.Normal) -> Tensor:
    """What a user registers for a prior of Pyro's."""
    return kl_divergence(torch.distributions.Normal(q.mean, q.stddev), torch.distributions.Normal(p.loc, p.scale))


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
        "units": [int(units) for units in vd.surviving_units(few).split("-")],
    }
    elpd = vd.posterior.held_out_elpd(vd.to_inference_data(guide, test, num_samples=3))
    parts["held-out density"] = [elpd["elpd_loo"], elpd["se"]]
    parts["fine-tuned"] = [vd.fine_tune(few, data, epochs=1, progress=False).history, few]
    guide.apply_masks(vd.pruning.pruning_masks(guide, threshold))
    again = vd.fit(guide, data, epochs=1, noise="position", progress=False)
    return {**parts, "trained on with noise": [again.history, parameters(model, guide)]}


def compaction(net: Callable[[], nn.Module], shape: tuple[int, ...], folder: Path) -> Parts:
    net, x = thinned(net()), torch.randn(5, *shape)
    small = vd.compact(net, x)
    return {"network": small, "outputs": small(x), "cost": network_cost(small, x[:1])}


def running_sparse(folder: Path) -> Parts:
    """Which form is the fastest is measured, so that the forms are looked at, and of what is chosen the classes."""
    net, x = vd.compact(thinned(mlp(64, 32, 10))), torch.randn(64, 64)
    forms = [CSRNetwork(net, [sparse, sparse])(x) for sparse in (False, True)]
    return {"dense and sparse": forms, "chosen": vd.runtime.sparsify_runtime(net, (64,))(x).argmax(-1)}


def files(folder: Path) -> Parts:
    net, x = vd.compact(thinned(mlp(64, 32, 10))), torch.randn(7, 64)
    parts: Parts = {}
    for layout in ("dense", "sparse", "quantised"):
        vd.save_pruned(net, path := folder / layout, layout=layout)
        parts[layout] = {"tensors": load_file(path), "network": vd.load_pruned(path)}
    vd.save_onnx(net, folder / "net.onnx", x)
    vd.export.save_torch_export(net, folder / "net.pt2", x)
    parts["onnx"], parts["torch"] = vd.load_onnx(folder / "net.onnx")(x), vd.export.load_torch_export(folder / "net.pt2")(x)
    return parts


# The table

VD = partial(vd.VariationalDropout, log_sigma2=-4.0)
GROUP = partial(vd.GroupVariationalDropout, log_sigma2=-1.0)
LOG_NORMAL = partial(vd.guides.LogNormalDropout, log_sigma2=-1.0)
GUIDES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    **{
        f"variational, by {per}": (partial(VD, alpha_sharing=per), vd.distributions.LogUniform)
        for per in ("weight", "row", "column", "layer")
    },
    "group, noise on weights": (GROUP, vd.distributions.NormalJeffreys),
    "group": (partial(GROUP, weight_noise=False), vd.distributions.NormalJeffreys),
    "log-normal, noise on weights": (partial(LOG_NORMAL, weight_noise=True), vd.distributions.LogUniform),
    "log-normal": (LOG_NORMAL, vd.distributions.LogUniform),
    **{
        f"gaussian, by {per}": (partial(vd.guides.GaussianDropout, p=0.3, noise_on=per), vd.distributions.LogUniform)
        for per in ("weight", "unit")
    },
    "bernoulli": (partial(vd.guides.BernoulliDropout, p=0.3), vd.distributions.LogUniform),
    "point": (vd.guides.PointEstimate, vd.distributions.LogUniform),
}
PRIORS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "log-uniform, exact": (VD, partial(vd.distributions.LogUniform, kl="exact")),
    "ard": (VD, vd.distributions.NormalARD),
    "normal": (VD, lambda shape: dist.Normal(torch.zeros(shape), 0.5)),
    "normal-jeffreys, exact": (GROUP, partial(vd.distributions.NormalJeffreys, kl="exact")),
}
LIKELIHOODS: dict[str, tuple[Callable[[], Any], Callable[[Tensor], Tensor]]] = {
    "normal, learnt scale": (vd.models.Normal, lambda y: ((y - 150) / 80).float()),
    "normal, fixed scale": (lambda: vd.models.Normal(scale=0.7), lambda y: ((y - 150) / 80).float()),
    "poisson": (vd.models.Poisson, lambda y: (y / 30).round().float()),
    "bernoulli": (vd.models.Bernoulli, lambda y: (y > 140).float()),
}
IMAGES = partial(digits, 1, 8, 8)
OPTIONS: dict[str, Callable[[Path], Parts]] = {
    "schedules": partial(
        training, VD, digits, lr_schedule=vd.training.LRSchedule("linear", 0.5), kl_weight=vd.KLWeight(0.5, end=2)
    ),
    "steps of the rate": partial(
        training, VD, digits, lr_schedule=vd.training.LRSchedule("steps", steps={1: 0.5}), kl_weight=1.0
    ),
    "augment": partial(training, VD, partial(digits, 8, 8), augment=vd.data.RandomAffine(10, 5, 0.1, 1)),
    "hold": partial(training, VD, digits, train_threshold=1.0, lr=0.03),
    "limits of units": partial(training, VD, digits, rule=vd.PruningRule(0.0, max_inputs=[30, 10])),
    "noise by position": partial(training, VD, IMAGES, net=convnet),
    "noise by example": partial(training, VD, IMAGES, net=convnet, noise="example"),
    "transposed": partial(training, VD, IMAGES, net=transposed),
    "groups of filters": partial(training, GROUP, IMAGES, net=Residual, prior=vd.distributions.NormalJeffreys),
    "weight decay": partial(training, vd.guides.PointEstimate, digits, weight_decay=0.01),
    "particles": partial(training, VD, digits, num_particles=2),
}
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mlp": (partial(mlp, 64, 32, 16, 10), (64,)),
    "convnet": (convnet, (1, 8, 8)),
    "residual": (Residual, (1, 8, 8)),
    "transposed": (transposed, (1, 8, 8)),
}

RESULTS: dict[str, Callable[[Path], Parts]] = {
    **{f"guide {name}": partial(training, guide, digits, prior=prior) for name, (guide, prior) in GUIDES.items()},
    **{f"prior {name}": partial(training, guide, digits, prior=prior) for name, (guide, prior) in PRIORS.items()},
    **{
        f"likelihood {name}": lambda folder, kind=kind, targets=targets: training(
            VD, partial(diabetes, targets), folder, net=partial(mlp, 10, 20, 1), likelihood=kind()
        )
        for name, (kind, targets) in LIKELIHOODS.items()
    },
    **{f"fit {name}": result for name, result in OPTIONS.items()},
    "fit resumed": resumed,
    "svi": with_svi,
    "latent site": latent_site,
    "decisions": decisions,
    **{f"compact {name}": partial(compaction, net, shape) for name, (net, shape) in NETWORKS.items()},
    "running sparse": running_sparse,
    "files": files,
}
