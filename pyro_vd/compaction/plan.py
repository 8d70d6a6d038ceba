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
from pyro_vd.compaction.module_plans import AttentionPlan, AttributePlan, EmbeddingPlan, ModulePlan, NormPlan
from pyro_vd.compaction.tensor_plan import TensorPlan, are_indices


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

    @property
    def modules(self) -> tuple[ModulePlan, ...]:
        """The plans for modules, in the order in which they are carried out."""
        return (*self.attentions, *self.embeddings, *self.norms, *self.attributes)

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
