"""The modules of a network whose size can change: the units they read, constant units, and the plans for their tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from pyro_vd.compaction.plan import TensorPlan
from pyro_vd.compaction.units import Units
from pyro_vd.networks.layer_kind import LayerKind
from pyro_vd.networks.layers import weight_name
from pyro_vd.networks.modules import SelectInputs


@dataclass
class Layer:
    """A layer of a registered kind, which reads the units ``source`` and makes the units ``output``.

    Attributes:
        module: the layer.
        kind: its kind.
        source: the units of its input; None where these units stay as they are.
        output: the units that it makes.
        needed: mask of the outputs that are read. In a sum, others may be live because they are read before this layer adds
            to them.
    """

    module: nn.Module
    kind: LayerKind
    source: Units | None
    output: Units

    def __post_init__(self) -> None:
        self.needed: Tensor = torch.ones(self.output.features, dtype=torch.bool)
        self.matrix: Tensor = (
            cast(Tensor, self.kind.matrix(self.module)).detach().cpu()
        )  # (outputs, inputs, positions of the kernel)
        self.nonzero: Tensor = (self.matrix != 0).any(2)

    @property
    def bias(self) -> Tensor:
        """``(outputs,)``, on the CPU as float64; zeros where the layer has no bias."""
        bias = cast(Tensor | None, getattr(self.module, self.kind.bias, None))
        return torch.zeros(self.output.features, dtype=torch.float64) if bias is None else bias.detach().cpu().double()

    @property
    def foldable(self) -> Tensor:
        """Mask of the constant inputs that a term in the bias replaces exactly, at every position."""
        if self.source is None:
            return torch.zeros(self.matrix.shape[1], dtype=torch.bool)
        known = self.source.constant
        can_fold = self.kind.is_uniform(self.module) and hasattr(self.module, self.kind.bias)
        return known.isfinite() if can_fold else known == 0

    @property
    def reads(self) -> Tensor:
        """``(outputs, inputs)``: True where a weight is not zero and its input cannot be folded into the bias."""
        return self.nonzero & ~self.foldable

    @property
    def folded(self) -> Tensor:
        """``(outputs,)``: the sum of the terms of the constant inputs that can be folded."""
        inputs = self.foldable
        if self.source is None:
            return torch.zeros(self.output.features, dtype=torch.float64)
        return self.matrix[:, inputs].double().sum(2) @ self.source.constant[inputs]

    @property
    def constant(self) -> Tensor:
        """The values of the outputs that are constant, NaN for the others, as :class:`~.units.Units` has them."""
        return (self.bias + self.folded).where(~self.reads.any(1), torch.nan)

    def plan(self, path: str) -> list[TensorPlan]:
        """What becomes of the layer's tensors, given its path in the network."""
        module, kind = self.module, self.kind
        kept_in = torch.ones(self.matrix.shape[1], dtype=torch.bool) if self.source is None else self.source.kept
        read = kept_in if self.source is None else ~self.foldable & self.source.live
        kept_out = self.output.kept
        # Constant inputs are folded even where they stay because another layer reads them; ``reads`` leaves them out too.
        silent_in = kept_in & ~read
        silent_out = kept_out & ~self.needed
        kept, zeroed = (
            kind.kept_entries(module, inputs.nonzero().flatten(), outputs.nonzero().flatten())
            for inputs, outputs in ((kept_in, kept_out), (silent_in, silent_out))
        )
        added = self.folded.where(self.needed, 0)
        tensors = {name: getattr(module, name) for name in kept}
        plans = [
            _tensor_plan(weight_name(path, name), tensor, kept[name], zeroed[name], added if name == kind.bias else None)
            for name, tensor in tensors.items()
            if tensor is not None
        ]
        if kind.bias in tensors and tensors[kind.bias] is None and added[kept_out].any():
            plans.insert(0, _tensor_plan(weight_name(path, kind.bias), None, kept[kind.bias], zeroed[kind.bias], added))
        return [plan for plan in plans if _changes(plan)]


@dataclass
class Norm:
    """A batch normalisation in evaluation mode: it changes units one by one."""

    module: nn.Module
    output: Units

    @property
    def ignores(self) -> Tensor:
        """Mask of the features that it multiplies by 0."""
        weight = cast(Tensor | None, self.module.weight)
        return torch.zeros(self.output.features, dtype=torch.bool) if weight is None else weight.detach().cpu() == 0

    def plan(self, path: str) -> list[TensorPlan]:
        """What becomes of the module's tensors, given its path in the network."""
        names = ("weight", "bias", "running_mean", "running_var")
        return _plans_of_vectors(self.module, path, names, self.output.kept)


@dataclass
class Selection:
    """The selection of the inputs that are read."""

    module: SelectInputs
    output: Units

    def plan(self, path: str) -> list[TensorPlan]:
        """What becomes of the module's tensors, given its path in the network."""
        return _plans_of_vectors(self.module, path, ("index",), self.output.kept)


Part = Layer | Norm | Selection


def _plans_of_vectors(module: nn.Module, path: str, names: tuple[str, ...], kept: Tensor) -> list[TensorPlan]:
    tensors = {name: tensor for name in names if (tensor := getattr(module, name)) is not None}
    indices = {0: kept.nonzero().flatten()}
    plans = [_tensor_plan(weight_name(path, name), tensor, indices, {}, None) for name, tensor in tensors.items()]
    return [plan for plan in plans if _changes(plan)]


def _tensor_plan(
    name: str, tensor: Tensor | None, kept: Mapping[int, Tensor], zeroed: Mapping[int, Tensor], added: Tensor | None
) -> TensorPlan:
    shape = tuple(cast(Tensor, added if tensor is None else tensor).shape)
    kept_by_dim = [kept[dim].tolist() if dim in kept else range(size) for dim, size in enumerate(shape)]
    return TensorPlan(
        name,
        shape,
        tuple(None if len(indices) == size else tuple(indices) for indices, size in zip(kept_by_dim, shape, strict=True)),
        tuple(tuple(zeroed[dim].tolist()) if dim in zeroed else () for dim in range(len(shape))),
        () if added is None or not added.any() else tuple(added.tolist()),
        tensor is None,
    )


def _changes(plan: TensorPlan) -> bool:
    return any(kept is not None for kept in plan.kept) or any(plan.zeroed) or bool(plan.added)
