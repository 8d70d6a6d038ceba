"""The plans for single modules, beside their tensors: numbers that they keep, and modules that take the place of others.

Each plan has the path of its module, and a method that carries it out on a network, which is changed. The tensors of the module
keep their sizes until the plans for tensors (:mod:`.tensor_plan`) are carried out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd.networks.attention import Attention
from pyro_vd.networks.layer_sizes import replace_number
from pyro_vd.networks.partial_norms import PartialNorm
from pyro_vd.networks.remapped import RemappedEmbedding, can_share_rows, remapped


class ModulePlan(Protocol):
    """What all plans for modules have in common."""

    @property
    def module(self) -> str:
        """The path of the module."""

    def carry_out(self, net: nn.Module) -> None:
        """Change the module, or put another one in its place.

        Raises:
            InputError: there is no such module, or one of another kind than the one that the plan was made for.
        """


@dataclass(frozen=True)
class AttributePlan:
    """A number, or a tuple of numbers, that a module keeps as an attribute and that the shapes of its tensors do not tell.

    Attributes:
        module: path of the module.
        name: name of the attribute.
        value: the new numbers.
        is_tuple: whether the attribute is a tuple; else it is the only number of ``value``.
    """

    module: str
    name: str
    value: tuple[int, ...]
    is_tuple: bool = False

    def __post_init__(self) -> None:
        if not self.value or not (self.is_tuple or len(self.value) == 1):
            raise InputError(name=self.name, value=self.value, allowed="one number, or several if is_tuple")

    def carry_out(self, net: nn.Module) -> None:
        """Change the number. Errors: see :class:`ModulePlan`; or the module has no such number."""
        module = _module_of(net, self.module)
        own = vars(module).get(self.name)
        before = own if self.is_tuple and isinstance(own, tuple) else (own,)
        if len(before) != len(self.value) or not all(type(number) is int for number in before):
            raise InputError(f"{self.module} has no number {self.name}", name=f"{self.module}.{self.name}", value=own)
        replace_number(module, self.name, self.value if self.is_tuple else self.value[0])


@dataclass(frozen=True)
class AttentionPlan:
    """An ``nn.MultiheadAttention`` that an :class:`~pyro_vd.networks.attention.Attention` of smaller sizes replaces.

    Attributes:
        module: path of the module.
        heads: how many heads stay.
        width: how many units of query and key each of them has.
        value_width: how many units of value each of them has.
    """

    module: str
    heads: int
    width: int
    value_width: int

    def carry_out(self, net: nn.Module) -> None:
        """Replace the attention, or change the sizes of one that was replaced before. Errors: see :class:`ModulePlan`."""
        whole = _module_of(net, self.module)
        if isinstance(whole, Attention):
            whole.num_heads, whole.head_dim, whole.value_dim = self.heads, self.width, self.value_width
            return
        if not isinstance(whole, nn.MultiheadAttention):
            raise InputError(f"{self.module} is a {type(whole).__name__}, not an nn.MultiheadAttention", name=self.module)
        _replace(net, whole, Attention(whole, self.heads, self.width, self.value_width))
        for module in net.modules():
            if isinstance(module, nn.TransformerEncoder):
                module.use_nested_tensor = False


@dataclass(frozen=True)
class EmbeddingPlan:
    """An embedding that a :class:`~pyro_vd.networks.RemappedEmbedding` with fewer rows replaces, or one that has fewer.

    Attributes:
        module: path of the module.
        rows: by row of its weight before, the number of the row that stays of those equal to it.
    """

    module: str
    rows: tuple[int, ...]

    def __post_init__(self) -> None:
        used = {*self.rows}
        if not used or used != {*range(len(used))}:
            raise InputError(
                f"the rows of {self.module} must be numbered from 0 without a gap", name=self.module, value=self.rows
            )

    def carry_out(self, net: nn.Module) -> None:
        """Let ids share rows. Errors: see :class:`ModulePlan`; or the embedding has another number of rows."""
        whole = _module_of(net, self.module)
        count = len(cast(Tensor, whole.weight)) if can_share_rows(whole) else 0
        if count != len(self.rows):
            raise InputError(
                f"{self.module} is {whole}, not an embedding of {len(self.rows)} rows", name=self.module, value=count
            )
        if isinstance(whole, RemappedEmbedding):
            whole.take_rows(torch.tensor(self.rows))
        else:
            _replace(net, whole, remapped(whole, torch.tensor(self.rows)))


@dataclass(frozen=True)
class NormPlan:
    """A layer or RMS normalisation that a :class:`~pyro_vd.networks.partial_norms.PartialNorm` replaces.

    Attributes:
        module: path of the module.
        removed: the values of the units that are removed.
        dim: the dimension of the units in the module's input.
        eps: that of an RMS normalisation that is no module of PyTorch; else None.
    """

    module: str
    removed: tuple[float, ...]
    dim: int = -1
    eps: float | None = None

    def carry_out(self, net: nn.Module) -> None:
        """Let a normalisation remember units, or one that was replaced before more. Errors: see :class:`ModulePlan`."""
        whole = _module_of(net, self.module)
        try:
            made = whole if isinstance(whole, PartialNorm) else PartialNorm.of(whole, self.dim, self.eps)
        except TypeError as error:
            raise InputError(f"{self.module} cannot lose units: {error}", name=self.module) from error
        like = next(parameter for parameter in net.parameters() if parameter.is_floating_point())
        made.removed = torch.cat([made.removed.to(like), torch.tensor(self.removed, dtype=torch.float64).to(like)])
        _replace(net, whole, made)


def _module_of(net: nn.Module, path: str) -> nn.Module:
    try:
        return net.get_submodule(path)
    except AttributeError as error:
        raise InputError(f"the network has no {path}, which the plan was made for", name=path) from error


def _replace(net: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in all places of another one."""
    for module in net.modules():
        for name, child in module._modules.items():
            if child is old:
                module._modules[name] = new
