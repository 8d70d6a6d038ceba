"""What ``fingerprint.py`` takes digests of, in Python: by name, a function that gives the parts of a result.

Each is given an empty folder, and torch's generator at the same seed. Trainings take a few steps, enough to show what they do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import torch
from fingerprint_networks import Residual, convnet, diabetes, digits, mlp, thinned, transposed
from fingerprint_trainings import Parts, decisions, latent_site, resumed, training, with_svi
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributions import kl_divergence, register_kl

import pyro_vd as vd
from pyro_vd.networks.flops import network_cost
from pyro_vd.runtime.csr import CSRNetwork


@register_kl(vd.distributions.MultiplicativeNormal, dist.Normal)
def _kl(q: vd.distributions.MultiplicativeNormal, p: dist.Normal) -> Tensor:
    """What a user registers for a prior of Pyro's."""
    return kl_divergence(torch.distributions.Normal(q.mean, q.stddev), torch.distributions.Normal(p.loc, p.scale))


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
