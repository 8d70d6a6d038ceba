"""Networks pruned at random, as a training prunes them: whole units and single weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyro_vd.networks import RemappedEmbedding
from pyro_vd.networks.norms import normalises_over_batch


@torch.no_grad()
def zero_at_random(net: nn.Module, units: float = 0.4, weights: float = 0.3, seed: int = 0) -> nn.Module:
    """Set to zero a share of the units of every layer but the last, and a share of the other weights; return the network.

    A unit is a row of a weight with its bias, and the gain and bias of a batch normalisation that follows; a column of an
    embedding; and a hidden unit of a recurrent layer with all of its gates. The last layer is the one registered last. The same
    share of the rows of embeddings is set to zero, as of words that are removed.
    """
    generator = torch.Generator().manual_seed(seed)

    def chosen(share: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=generator) < share

    modules = [module for _, module in net.named_modules()]
    layers = [k for k, module in enumerate(modules) if any(p.ndim > 1 for p in module.parameters(recurse=False))]
    for place in layers:
        module = modules[place]
        own = dict(module.named_parameters(recurse=False))
        for parameter in own.values():
            if parameter.ndim > 1:
                parameter *= ~chosen(weights, *parameter.shape)
        if place == layers[-1]:
            continue
        if isinstance(module, nn.RNNBase):
            gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
            for suffix in {name.split("_", 2)[2] for name in own}:
                silent = chosen(units, module.hidden_size)
                for name, parameter in own.items():
                    if name == f"weight_hr_{suffix}":  # the projection, which reads the hidden units
                        parameter[:, silent] = 0
                    elif name.endswith(suffix):
                        parameter.unflatten(0, (gates, -1))[:, silent] = 0
            continue
        for name, parameter in own.items():
            if parameter.ndim > 1:
                dim = output_dimension(module)
                silent = chosen(units, parameter.shape[dim])
                if len(silent) > 1:
                    bias = own.get("in_proj_bias" if name == "in_proj_weight" else "bias")
                    _silence(parameter, dim, silent, bias, modules[place + 1 : place + 2])
    for table in (module.weight for module in modules if isinstance(module, nn.Embedding)):
        table[chosen(units, len(table))] = 0
    return net


def output_dimension(module: nn.Module) -> int:
    """The dimension of a module's weight that holds the units that it makes."""
    return 1 if isinstance(module, nn.Embedding | RemappedEmbedding) or type(module).__name__ == "Conv1D" else 0


def _silence(weight: Tensor, dim: int, silent: Tensor, bias: Tensor | None, after: list[nn.Module]) -> None:
    index = silent.nonzero().flatten()
    weight.index_fill_(dim, index, 0)
    if bias is not None:
        bias[index] = 0
    for norm in after:
        if normalises_over_batch(norm) and norm.num_features == len(silent):
            norm.weight[index] = norm.bias[index] = 0
