"""A watched run of a network, which shows how its forward pass uses its weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pyro_vd._core.eager import eagerly
from pyro_vd._core.errors import InputError
from pyro_vd._core.generators import generators_kept
from pyro_vd.inference.tensor_functions import is_question
from pyro_vd.models.usage import WatchedWeight, WeightUsage, leaves_of
from pyro_vd.networks.inputs import Inputs, device_of, map_tensors, run, tensors_in


class _ForeignParameters(TorchFunctionMode):
    """A record of the learnt parameters that are arguments of a function but do not belong to the network's own modules.

    In a watched run, plain tensors have replaced all parameters of the network's own modules, so that any other is foreign.
    """

    def __init__(self) -> None:
        super().__init__()
        self.foreign: set[tuple[int, ...]] = set()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not is_question(func, args, kwargs, nn.Parameter):
            given = (*args, *kwargs.values())
            self.foreign |= {tuple(p.shape) for p in given if isinstance(p, nn.Parameter) and p.requires_grad}
        return func(*args, **kwargs)


def watch_forward(
    network: Callable[[Mapping[str, Tensor]], nn.Module],
    weights: Mapping[str, Tensor],
    places: Mapping[str, list[str]],
    others: Mapping[str, Tensor],
    layers: Iterable[str],
    x: Inputs,
) -> WeightUsage:
    """Run a forward pass and return how it uses the weights. The random state stays as it was.

    Args:
        network: makes the network to run from tensors by name.
        weights: a value of each weight, by site.
        places: the names in the network of each weight, by site.
        others: the network's other tensors, by name; the run uses copies of them.
        layers: the names among ``others`` of weights of layers without a prior; their output does not count as data.
        x: a batch of the network's inputs.

    Raises:
        InputError: the forward pass changes a weight in place, makes new modules or parameters, or reaches parameters that are
            not those of its own modules.
    """
    usage = WeightUsage()
    with (
        generators_kept(device_of(x)),
        torch.inference_mode(False),
        torch.enable_grad(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # the first real pass gives the same warnings
        values = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
        tensors = {name: tensor.detach().clone() for name, tensor in others.items()}
        for name in layers:
            tensors[name].requires_grad_()
        x = map_tensors(lambda tensor: tensor.detach().clone(), x)
        versions = {name: value._version for name, value in values.items()}
        watched = {name: WatchedWeight.of(value, name, usage) for name, value in values.items()}
        for name, weight in watched.items():
            tensors |= dict.fromkeys(places[name], weight)
        net = network(tensors)
        names = dict(net.named_parameters(remove_duplicate=False))
        with eagerly(), _ForeignParameters() as others_used:
            usage.as_leaf = leaves_of(run(net, x))
        usage.changes_inputs = any(tensor._version or tensor.requires_grad for tensor in tensors_in(x))
    for name, value in values.items():
        if value._version != versions[name] or not torch.equal(value, weights[name]):
            raise InputError(
                f"the weight {name!r} is changed in place in the network's forward pass; it is drawn anew in every pass, and "
                "the change would be lost. Compute with a changed copy instead, or use torch.nn.utils.parametrize",
                name=name,
            )
    after = dict(net.named_parameters(remove_duplicate=False))
    if changed := [name for name in {**names, **after} if names.get(name) is not after.get(name)]:
        raise InputError(
            f"the network's forward pass makes or replaces the parameters {', '.join(changed)}, which would not be trained; "
            "make them when the network is built",
            name="net",
            value=changed,
        )
    if shapes := sorted(others_used.foreign):
        raise InputError(
            f"the network's forward pass uses parameters of the shapes {shapes} that are not those of its own modules, and "
            "would not be trained; the cause may be a lambda, a weak reference or a method that was compiled before. Use "
            "parameters through self in forward",
            name="net",
            value=shapes,
        )
    return usage
