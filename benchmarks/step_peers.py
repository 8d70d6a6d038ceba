"""Steps of other libraries of Bayesian networks, for ``step_time.py``: group ``peers`` of pyproject.toml.

Each is used as its documentation says: layers in place of those of the network, the KL that the library computes, Adam.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

PEERS = {"bayesian-torch": "bayesian_torch", "torchbnn": "torchbnn", "blitz": "blitz", "cplxmodule": "cplxmodule"}
"""By name, the module to import."""
Peer = tuple[nn.Module, Callable[[], Tensor]]
"""A network, and a function that gives its KL after a forward pass."""


def installed() -> list[str]:
    """The libraries that are installed."""
    return [name for name, module in PEERS.items() if importlib.util.find_spec(module) is not None]


def peer(name: str, net: nn.Module) -> Peer | None:
    """Return ``net`` with the layers of a library; None where it has none for a layer of the network."""
    if name != "bayesian-torch" and any(isinstance(module, nn.RNNBase) for module in net.modules()):
        return None
    return _MAKERS[name](net)


def replaced(net: nn.Module, linear: Callable[..., nn.Module], convolution: Callable[..., nn.Module]) -> nn.Module:
    """Replace every linear layer and every convolution of ``net``.

    Args:
        net: changed in place.
        linear: makes a layer of the numbers of inputs and outputs and ``bias``.
        convolution: makes a layer of the numbers of channels, the size of the kernel, ``stride``, ``padding`` and ``bias``.
    """
    for name, child in net.named_children():
        has_bias = getattr(child, "bias", None) is not None
        if isinstance(child, nn.Linear):
            setattr(net, name, linear(child.in_features, child.out_features, bias=has_bias))
        elif isinstance(child, nn.Conv2d):
            options: dict[str, Any] = {"stride": child.stride[0], "padding": child.padding[0], "bias": has_bias}
            setattr(net, name, convolution(child.in_channels, child.out_channels, child.kernel_size[0], **options))
        else:
            replaced(child, linear, convolution)
    return net


def _bayesian_torch(net: nn.Module) -> Peer:
    from bayesian_torch.models.dnn_to_bnn import dnn_to_bnn, get_kl_loss

    prior = {"prior_mu": 0.0, "prior_sigma": 1.0, "posterior_mu_init": 0.0, "posterior_rho_init": -3.0}
    dnn_to_bnn(net, {**prior, "type": "Reparameterization", "moped_enable": False, "moped_delta": 0.5})
    return net, lambda: get_kl_loss(net)


def _torchbnn(net: nn.Module) -> Peer:
    from torchbnn import BayesConv2d, BayesLinear, BKLLoss

    def linear(*sizes: int, **options: Any) -> nn.Module:
        return BayesLinear(0, 0.1, *sizes, **options)

    def convolution(*sizes: int, **options: Any) -> nn.Module:
        return BayesConv2d(0, 0.1, *sizes, **options)

    net = replaced(net, linear, convolution)
    kl = BKLLoss(reduction="sum")
    return net, lambda: kl(net)


def _blitz(net: nn.Module) -> Peer:
    from blitz.losses import kl_divergence_from_nn
    from blitz.modules import BayesianConv2d, BayesianLinear

    def convolution(inputs: int, outputs: int, size: int, **options: Any) -> nn.Module:
        return BayesianConv2d(inputs, outputs, (size, size), **options)

    net = replaced(net, BayesianLinear, convolution)
    return net, lambda: kl_divergence_from_nn(net)


def _cplxmodule(net: nn.Module) -> Peer:
    from cplxmodule.nn.relevance import Conv2dVD, LinearVD, penalties

    net = replaced(net, LinearVD, Conv2dVD)
    return net, lambda: sum(penalties(net))


_MAKERS: dict[str, Callable[[nn.Module], Peer]] = {
    "bayesian-torch": _bayesian_torch,
    "torchbnn": _torchbnn,
    "blitz": _blitz,
    "cplxmodule": _cplxmodule,
}
