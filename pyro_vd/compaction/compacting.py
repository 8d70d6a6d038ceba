"""Exact compaction in one step: the smaller network computes the same function as the pruned one."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from pyro_vd._core.threads import alone
from pyro_vd.compaction.plan import ShrinkPlan
from pyro_vd.compaction.verifying import Verified, verified
from pyro_vd.networks.inputs import Inputs
from pyro_vd.networks.layer_registry import kind_of

logger: logging.Logger = logging.getLogger(__name__)


def compact(net: nn.Module, example: Inputs | None = None) -> nn.Module:
    """Make a smaller network that computes the same function, without the units, filters and inputs that do not matter.

    A weight counts as removed where it is exactly zero. A unit is removed if no path of non-zero weights leads from it to the
    output. A unit that is constant is removed too, and what it contributes is added to the biases of the layers that read it.
    This goes on until no such unit is left. Output units stay, and one unit of a layer that has none left. The outputs are
    equal, but for rounding, wherever inputs and activations are finite. Where a unit is constant, and which units are removed
    together, depends on the operations:

    ============================================  ==================================================================
    linear layer                                  a unit is constant if all its weights are zero or their inputs constant
    convolution                                   the same; with zero padding it still reads constants other than 0
    transposed convolution                        the same; it still reads constants other than 0
    embedding                                     a column; ids of equal rows, as of removed words, share one row
    recurrent layer and cell                      a hidden unit with all of its gates, constant if it is always 0
    bilinear layer                                a unit of either input that is always 0, or an output
    activation, dropout, batch normalisation      each unit by itself
    pooling, mean over positions, padding         each filter by itself; an average that counts padding is not constant
    sum, difference and product of two tensors    units at the same place are removed together
    division, logarithm and others of their kind  units that may become 0 there stay
    concatenation, parts, views, permutations     units are followed to their new places
    shuffle of parts, as in ShuffleNet            as few units as the shuffles can take; others get another order
    depthwise convolution                         a channel goes with the one that it is made of
    convolution with groups                       as many in each group as in the others; a group without outputs goes
    attention, in one operation or written out    heads, and in each head as many units as in the others; heads that share a key
                                                  go together, and those whose weights are returned stay
    layer and RMS normalisation                   a constant unit goes if nobody reads its output; the others stay
    group normalisation                           groups as a whole, constant if all channels of the group are
    any other operation                           the units that it reads stay as they are, and a message names it
    ============================================  ==================================================================

    The operations are those that ``torch.export`` finds, whatever modules they belong to. The smaller network is run beside the
    whole one before it is given. Where it differs, because a forward pass depends on sizes, more units stay. A network that
    ``torch.export`` cannot follow comes back whole, with a message.

    Args:
        net: the network; it is copied, never changed.
        example: a batch that it takes, of any size: a tensor, a tuple of arguments, or a mapping of keyword arguments. It can
            be left out where the first layer is linear and takes ``(batch, features)``.

    Returns:
        A copy of the network with smaller layers, in evaluation mode; of the same class as the network. Where inputs are
        removed, it is an ``nn.Sequential`` that begins with a :class:`~pyro_vd.networks.SelectInputs`, which takes the others
        from the whole input. An ``nn.MultiheadAttention`` that becomes smaller is replaced by an
        :class:`~pyro_vd.networks.attention.Attention`, which has widths of its own; an embedding of which rows go, by a
        :class:`~pyro_vd.networks.RemappedEmbedding`; a layer or RMS normalisation that loses units, by a
        :class:`~pyro_vd.networks.partial_norms.PartialNorm`, which remembers their values.

    Raises:
        InputError: the network has hooks, a parameter is not finite, or the example is missing or does not fit.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from pyro_vd import compact
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> with torch.no_grad():
        ...     _ = net[2].weight[:, 2:].zero_()  # nothing reads six of the eight units
        >>> compact(net)
        Sequential(
          (0): Linear(in_features=4, out_features=2, bias=True)
          (1): ReLU()
          (2): Linear(in_features=2, out_features=3, bias=True)
        )
    """
    return told(net, example).net


def told(net: nn.Module, example: Inputs | None = None) -> Verified:
    """Make the smaller network as :func:`compacted` does, and show the messages about it."""
    found = compacted(net, example)
    for message in found.plan.messages:
        logger.warning(message)
    return found


def shrink_plan(net: nn.Module, example: Inputs | None = None) -> ShrinkPlan:
    """Find the units and inputs of a network that can be removed, by the weights that are exactly zero; nothing is changed.

    :func:`~pyro_vd.compaction.apply_plan` then makes the smaller network, and :func:`~pyro_vd.compaction.shrink_tensor`
    shrinks tensors that are shaped like its parameters.

    Args:
        net, example: see :func:`~pyro_vd.compact`.

    Raises:
        InputError: a parameter is not finite, the network has hooks, or the example is missing or does not fit.
    """
    return compacted(net, example).plan


@torch.no_grad()
@alone()
def compacted(net: nn.Module, example: Inputs | None = None) -> Verified:
    """Make the smaller network, with the plan and the messages about it. Args and errors: see :func:`compact`."""
    return verified(net, example)


@torch.no_grad()
def holds_zeros(net: nn.Module) -> bool:
    """Whether a weight of a layer or of a normalisation is zero; where none is, :func:`compact` finds nothing to remove."""
    for module in net.modules():
        kind = kind_of(module)
        weights = (getattr(module, name, None) for name in (("weight",) if kind is None else kind.weights(module)))
        if any(isinstance(weight, Tensor) and int(torch.count_nonzero(weight)) < weight.numel() for weight in weights):
            return True
    return False
