"""Rivals that learn, or compute, a posterior of every weight and then cut the weights that it is least sure of.

Each is trained once from a network, whatever the target: the weights are ranked by |mean| / standard deviation over the whole
network, the best are kept, and what is left recovers. The libraries come with the dependency group ``peers``; a rival whose
library is not installed is left out.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from importlib.util import find_spec

import torch
from rivals import BATCH, Task, learn
from step_peers import replaced
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from pyro_vd import compact

Posterior = tuple[nn.Module, list[Tensor]]
"""A network with the means as its weights, and how sure each weight of its layers is."""
EXAMPLES = 2_000
"""Training examples of which the Fisher information is computed."""


def layers(net: nn.Module) -> list[nn.Linear | nn.Conv2d]:
    """The layers whose weights are ranked."""
    return [module for module in net.modules() if isinstance(module, nn.Linear | nn.Conv2d)]


class Ranked:
    """A method that computes a posterior once per network, and cuts at the rank that a target asks for.

    Args:
        posterior: gives the network with the means as its weights and how sure each weight of :func:`layers` is.

    Attributes:
        spared: seconds of the processor that the posterior took, where the last call did not compute it again; otherwise 0.
    """

    def __init__(self, posterior: Callable[[Task], Posterior]) -> None:
        self._posterior = posterior
        self._key: tuple[nn.Module, int] | None = None
        self._seconds = self.spared = 0.0

    def __call__(self, task: Task) -> nn.Module:
        key = task.net, task.epochs
        if key == self._key:
            self.spared = self._seconds
        else:
            started = time.process_time()
            with torch.random.fork_rng([]):  # what follows is the same for every target
                self._found = self._posterior(task)
            self._key, self._seconds, self.spared = key, time.process_time() - started, 0.0
        net, sure = copy.deepcopy(self._found[0]), self._found[1]
        everything = torch.cat([each.flatten() for each in sure])
        least = everything.kthvalue(len(everything) - max(1, int(len(everything) / task.target)) + 1).values
        for layer, each in zip(layers(net), sure, strict=True):
            torch_prune.custom_from_mask(layer, "weight", each >= least)
        learn(net, task, task.recovery)
        for layer in layers(net):
            torch_prune.remove(layer, "weight")
        return compact(net, task.example)


def fisher(task: Task) -> Posterior:
    """A Laplace approximation with the diagonal of the Fisher information, of the trained network (LeCun 1989).

    The network is trained for the epochs in which the others shrink.
    """
    net = copy.deepcopy(task.net)
    learn(net, task, task.shrinking)
    weights = dict(net.named_parameters())

    def loss(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(torch.func.functional_call(net, values, (x[None],)), y[None])

    per_example = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))
    found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    x, y = (each[:EXAMPLES] for each in task.train)
    for some_x, some_y in zip(x.split(BATCH), y.split(BATCH), strict=True):
        for name, gradient in per_example({name: w.detach() for name, w in weights.items()}, some_x, some_y).items():
            found[name] += gradient.square().sum(0)
    names = {id(weight): name for name, weight in weights.items()}
    sure = [layer.weight.detach().square() * found[names[id(layer.weight)]] for layer in layers(net)]
    return net, [each + 1e-30 * layer.weight.detach().square() for each, layer in zip(sure, layers(net), strict=True)]


def _with_means(net: nn.Module, means: list[tuple[Tensor, Tensor | None]]) -> nn.Module:
    """A copy of a network with other weights and biases in its layers."""
    net = copy.deepcopy(net)
    for layer, (weight, bias) in zip(layers(net), means, strict=True):
        layer.weight.data.copy_(weight.detach())
        if layer.bias is not None and bias is not None:
            layer.bias.data.copy_(bias.detach())
    return net


def _cplxmodule(kind: str) -> Callable[[Task], Posterior]:
    def posterior(task: Task) -> Posterior:
        from cplxmodule.nn import relevance

        made = replaced(copy.deepcopy(task.net), getattr(relevance, f"Linear{kind}"), getattr(relevance, f"Conv2d{kind}"))
        of = [module for module in made.modules() if hasattr(module, "log_sigma2")]
        for module, layer in zip(of, layers(task.net), strict=True):
            module.weight.data.copy_(layer.weight.detach())
            module.log_sigma2.data.fill_(-8.0)
            if layer.bias is not None:
                module.bias.data.copy_(layer.bias.detach())
        steps, warm_up, count = 0, 0.8 * task.shrinking * -(-len(task.train[0]) // BATCH), len(task.train[0])

        def penalty() -> Tensor:
            nonlocal steps
            steps += 1
            total: Tensor = sum(relevance.penalties(made))
            return min(1.0, steps / warm_up) / count * total

        learn(made, task, task.shrinking, length=task.epochs, penalty=penalty)
        return _with_means(task.net, [(each.weight, each.bias) for each in of]), [-each.log_alpha.detach() for each in of]

    return posterior


def _bayesian_torch(task: Task) -> Posterior:
    """Layers as its documentation makes them of a trained network, its KL divided by the size of a batch."""
    from bayesian_torch.models.dnn_to_bnn import dnn_to_bnn, get_kl_loss

    made = copy.deepcopy(task.net)
    prior = {"prior_mu": 0.0, "prior_sigma": 1.0, "posterior_mu_init": 0.0, "posterior_rho_init": -3.0}
    dnn_to_bnn(made, {**prior, "type": "Reparameterization", "moped_enable": True, "moped_delta": 0.5})
    learn(made, task, task.shrinking, length=task.epochs, penalty=lambda: get_kl_loss(made) / BATCH)
    found = dict(made.named_parameters())
    rho = {name: value for name, value in found.items() if name.endswith(("rho_weight", "rho_kernel"))}
    means = [found[name.replace("rho_", "mu_")] for name in rho]
    biases = [found.get(name.rpartition(".")[0] + ".mu_bias") for name in rho]
    sure = [mean.detach().abs() / nn.functional.softplus(each.detach()) for mean, each in zip(means, rho.values(), strict=True)]
    return _with_means(task.net, list(zip(means, biases, strict=True))), sure


METHODS: dict[str, Callable[[Task], nn.Module]] = {"Laplace, diagonal Fisher, weights": Ranked(fisher)}
if find_spec("cplxmodule") is not None:
    METHODS |= {f"cplxmodule, {kind}, weights": Ranked(_cplxmodule(kind)) for kind in ("VD", "ARD")}
if find_spec("bayesian_torch") is not None:
    METHODS["bayesian-torch, weights"] = Ranked(_bayesian_torch)
