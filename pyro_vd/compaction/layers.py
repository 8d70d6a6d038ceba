"""Units of a network, and what becomes of a layer when some of them go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from pyro_vd.networks.layer_kind import LayerKind
from pyro_vd.networks.layer_sizes import remember_shape, take_sizes
from pyro_vd.networks.modules import SelectInputs


class Space:
    """Units kept or removed together: a layer's outputs, wherever they go on one by one, and what they are summed with.

    ``pinned``: something not understood reads them, so all stay and none is taken for constant. ``live``: those that the
    network's output depends on.
    """

    def __init__(self, size: int) -> None:
        self.live = torch.zeros(size, dtype=torch.bool)
        self.pinned = False
        self._joined: Space | None = None

    @property
    def size(self) -> int:
        return len(self.live)

    @property
    def kept(self) -> Tensor:
        """The live units, or one where there is none: torch has no layers without units."""
        return self.live if self.live.any() else torch.arange(self.size) == 0

    def root(self) -> Space:
        """The space that this one has become part of."""
        return self if self._joined is None else self._joined.root()

    def join(self, other: Space) -> None:
        """Make two spaces of one size one."""
        mine, its = self.root(), other.root()
        if mine is not its:
            mine.pinned |= its.pinned
            its._joined = mine


class Units:
    """A space as a tensor holds it: along ``axis``, in ``features`` places, as many in a row for each unit.

    ``constant``: by feature, on the CPU as float64, its value where that is the same for all inputs and positions, else NaN.
    """

    def __init__(self, space: Space, axis: int, features: int) -> None:
        self._space = space
        self.axis = axis
        self.features = features
        self.constant = torch.full((features,), torch.nan, dtype=torch.float64)

    @property
    def space(self) -> Space:
        return self._space.root()

    @property
    def live(self) -> Tensor:
        """Mask of the live features."""
        return self.space.live.repeat_interleave(self.features // self.space.size)

    @property
    def kept(self) -> Tensor:
        """Mask of the features that stay."""
        return self.space.kept.repeat_interleave(self.features // self.space.size)


@dataclass
class Layer:
    """A layer of a registered kind between two spaces; no ``source``: its inputs stay as they are.

    ``needed``: mask of the outputs that are read. In a sum others may be live, read only before this layer has its say.
    """

    module: nn.Module
    kind: LayerKind
    source: Units | None
    output: Units

    def __post_init__(self) -> None:
        self.needed = torch.ones(self.output.features, dtype=torch.bool)

    @property
    def weight(self) -> Tensor:
        """``(outputs, inputs, positions of the filter)``, on the CPU."""
        return cast(Tensor, self.kind.matrix(self.module)).detach().cpu()

    @property
    def bias(self) -> Tensor:
        """``(outputs,)``, on the CPU as float64; zeros where the layer has none."""
        bias = cast(Tensor | None, self.module.bias)
        return torch.zeros(self.output.features, dtype=torch.float64) if bias is None else bias.detach().cpu().double()

    @property
    def foldable(self) -> Tensor:
        """Mask of the constant inputs that a term in the bias replaces exactly, at every position."""
        if self.source is None:
            return torch.zeros(self.weight.shape[1], dtype=torch.bool)
        known = self.source.constant
        return known.isfinite() if self._has_no_borders else known == 0

    @property
    def reads(self) -> Tensor:
        """``(outputs, inputs)``: True where a weight is not zero and its input cannot be folded away."""
        return (self.weight != 0).any(2) & ~self.foldable

    def folded(self, inputs: Tensor) -> Tensor:
        """``(outputs,)``: the sum of the terms of these constant inputs, a mask."""
        if self.source is None:
            return torch.zeros(self.output.features, dtype=torch.float64)
        return self.weight[:, inputs].double().sum(2) @ self.source.constant[inputs]

    @property
    def constant(self) -> Tensor:
        """Of the outputs, as :class:`Units` has it."""
        return (self.bias + self.folded(self.foldable)).where(~self.reads.any(1), torch.nan)

    @property
    def _has_no_borders(self) -> bool:
        """Whether a constant input adds the same everywhere: no zeros are padded, no position has fewer terms."""
        return self.kind.is_uniform(self.module)

    def shrink(self) -> None:
        """Drop from the module the units that go, folding constant ones into the bias."""
        module, output = cast(Any, self.module), self.output
        weight, bias, kernel = self.weight.clone(), self.bias, module.weight.shape[2:]
        if self.source is not None:
            bias = bias + self.folded(self.foldable)  # of live units too: others may have needed them, as ``reads`` has it
            weight[:, self.foldable | ~self.source.live] = 0
            weight = weight[:, self.source.kept]
        weight[~self.needed] = 0
        weight, bias = weight[output.kept], bias.where(self.needed, 0)[output.kept]
        outputs, inputs = weight.shape[:2]
        weight = weight.reshape(outputs, inputs, *kernel)
        if module.bias is None and bias.any():
            remember_shape(module, "bias")
            module.bias = nn.Parameter(module.weight.new_zeros(0), module.weight.requires_grad)
        _replace(module, "weight", weight.transpose(0, 1) if self.kind.weights(module)["weight"][0] == "in" else weight)
        if module.bias is not None:
            _replace(module, "bias", bias)
        take_sizes(module)


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

    def shrink(self) -> None:
        """Drop from the module the units that go."""
        kept = self.output.kept
        for name in ("weight", "bias", "running_mean", "running_var"):
            if (tensor := getattr(self.module, name)) is not None:
                _replace(self.module, name, tensor.detach()[kept.to(tensor.device)])
        take_sizes(self.module)


@dataclass
class Selection:
    """The selection of the inputs that are read."""

    module: SelectInputs
    output: Units

    def shrink(self) -> None:
        """Drop from the module the inputs that go."""
        index = self.module.index
        _replace(self.module, "index", index[self.output.kept.to(index.device)])
        take_sizes(self.module)


def _replace(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Another tensor in a parameter's or a buffer's place, of its type, on its device, in storage of its own."""
    old = getattr(module, name)
    if old.shape != tensor.shape:
        remember_shape(module, name)
    new = tensor.to(old).clone(memory_format=torch.contiguous_format)
    setattr(module, name, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)
