"""The plan of which units of a network to remove: a value of its own, which can be saved, compared and applied elsewhere."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from pyro_vd._core.errors import InputError
from pyro_vd._core.settings import typed
from pyro_vd.compaction.norms import NormPlan
from pyro_vd.compaction.tensor_plan import TensorPlan, are_indices


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
        if not self.rows or {*self.rows} != {*range(max(self.rows) + 1)}:
            raise InputError(
                f"the rows of {self.module} must be numbered from 0 without a gap", name=self.module, value=self.rows
            )


@dataclass(frozen=True)
class InputSelection:
    """The inputs that a network reads, where it does not read all.

    Attributes:
        features: how many inputs there are.
        dim: the dimension of the input that holds them.
        flatten: whether the input is flattened to ``(batch, features)`` first.
        kept: the indices of the inputs that are read, rising.
    """

    features: int
    dim: int
    flatten: bool
    kept: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.kept or not are_indices(self.kept, self.features):
            allowed = f"at least one index of an input, rising from 0 to less than {self.features}"
            raise InputError(name="kept", value=self.kept, allowed=allowed)


@dataclass(frozen=True)
class ShrinkPlan:
    """How a network becomes smaller without becoming another function; :func:`~pyro_vd.compaction.shrink_plan` makes it.

    Attributes:
        tensors: one entry for each parameter and buffer that changes.
        inputs: the selection of inputs that comes in front of the network; None where there is none.
        attributes: numbers that modules of other libraries keep.
        attentions: attentions that are replaced.
        embeddings: embeddings of which rows go.
        norms: normalisations that are replaced.
        messages: sentences for the user, such as which units are left as they are because of the operations that read them.
    """

    tensors: tuple[TensorPlan, ...]
    inputs: InputSelection | None = None
    messages: tuple[str, ...] = ()
    attributes: tuple[AttributePlan, ...] = ()
    attentions: tuple[AttentionPlan, ...] = ()
    embeddings: tuple[EmbeddingPlan, ...] = ()
    norms: tuple[NormPlan, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, TensorPlan]:
        return {tensor.name: tensor for tensor in self.tensors}

    def tensor(self, name: str) -> TensorPlan | None:
        """The plan for the parameter or buffer of this name; None where it stays as it is."""
        return self._by_name.get(name)

    def kept(self, name: str) -> dict[int, Tensor]:
        """The indices that are kept of a parameter or buffer, by dimension; dimensions of which all is kept are left out.

        For the weight of a convolution with groups, those of dimension 1 count through all groups: group · size + index.
        """
        found = self.tensor(name)
        return {} if found is None else {dim: torch.tensor(kept) for dim, kept in enumerate(found.kept) if kept is not None}

    def to_json(self) -> dict[str, Any]:
        """The plan as lists, dictionaries, numbers and text, from which :meth:`from_json` makes it again."""
        tree: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return tree

    @classmethod
    def from_json(cls, tree: Any) -> Self:
        """Make the plan that :meth:`to_json` has described.

        Raises:
            InputError: ``tree`` is not such a description.
        """
        plan: Self = typed("the shrink plan", tree, cls)
        return plan


def shrink_tensor(tensor: Tensor, plan: ShrinkPlan, name: str) -> Tensor:
    """Select what a plan keeps of a tensor shaped like a parameter, such as its gradient or an optimizer's moments.

    Args:
        tensor: a tensor of the parameter's shape.
        plan: the plan for the network.
        name: name of the parameter; where the plan does not change it, everything is kept.

    Returns:
        A new tensor.

    Raises:
        InputError: the tensor has another shape than the parameter had when the plan was made.
    """
    found = plan.tensor(name)
    if found is None:
        return tensor.clone()
    if tuple(tensor.shape) != found.shape:
        shape = tuple(tensor.shape)
        raise InputError(
            f"a tensor for {name!r} has the shape {shape}; the plan is for {found.shape}",
            name=name,
            value=shape,
            allowed=str(found.shape),
        )
    return found.selected(tensor)
