"""What must be known about a kind of layer to give its weights a prior, count them, prune them and make the layer smaller.

A kind is a subclass of :class:`LayerKind`, in a file of its own, which :func:`~pyro_vd.networks.register_layer` adds.
:mod:`~pyro_vd.networks.linear_kind` is the shortest example, :mod:`~pyro_vd.networks.convolution_kinds` one with kernels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, cast

from torch import Tensor, nn

from pyro_vd.networks.construction import constructor_arguments
from pyro_vd.networks.linear_map import LinearMap

Place = tuple[str, int]
"""A dimension of a parameter of a layer: the parameter's name, and the number of the dimension."""

Axes = tuple[str, ...]
"""Names of a weight's dimensions: ``out`` for output units, ``in`` for input units, ``kernel_0``, … for those of a kernel."""


class LayerKind(ABC):
    """Description of a kind of layer; the defaults are for a layer that maps ``(…, in_features)`` to ``(…, out_features)``.

    A kind must define :attr:`modules` or :attr:`class_names`, and :meth:`weights`. A kind whose layers' output is not linear in
    their inputs must also override :meth:`matrix` to return None, which is also the default for several weights. A weight that
    the forward pass gives to one of the :attr:`linear_maps`, once, is not drawn: the output of the map is. A weight that is
    used in any other way is drawn once per forward pass.
    :class:`pyro_vd.testing.LayerKindConformance` tests everything that a kind claims.
    """

    modules: tuple[type[nn.Module], ...] = ()
    """The classes of its layers. Subclasses of them belong to the kind too, but are never made smaller."""
    class_names: tuple[str, ...] = ()
    """Classes of packages that need not be installed, and are never imported for this: ``"package.module.Class"``."""
    is_described: bool = True
    """Whether files describe its layers: those of :attr:`modules` that take one tensor and return one, inside
    ``nn.Sequential``."""
    linear_maps: tuple[LinearMap, ...] = ()
    """The functions that its layers call with a weight; empty if a weight never goes into one as it is."""
    sizes: tuple[str, str] = ("in_features", "out_features")
    """The attributes of a layer that hold its numbers of input units and of output units."""
    bias = "bias"
    """The parameter that is added to the output units; a layer may have None there, or no such attribute."""

    # The weights

    @abstractmethod
    def weights(self, layer: nn.Module) -> dict[str, Axes]:
        """The parameters of a layer that are weights, by name, with the names of their dimensions."""

    def units(self, layer: nn.Module) -> tuple[int, int]:
        """The numbers of input units and of output units of a layer."""
        inputs, outputs = (getattr(layer, name) for name in self.sizes)
        return inputs, outputs

    def unit_places(self, layer: nn.Module) -> dict[str, tuple[Place, Place]]:
        """Where the input units and the output units are dimensions of parameters.

        Args:
            layer: the layer.

        Returns:
            The two dimensions by part of the layer: one part named ``""``, or several where its weights have units of their
            own, as in a recurrent layer.
        """
        name, axes = next(iter(self.weights(layer).items()))
        return {"": ((name, axes.index("in")), (name, axes.index("out")))}

    def is_dense(self, layer: nn.Module) -> bool:
        """Whether every weight has an entry, or a kernel, for each pair of an output unit and an input unit."""
        return True

    def input_groups(self, layer: nn.Module) -> int:
        """How many groups the inputs are divided into, where the dimension ``in`` of a weight has only those of one group."""
        return 1

    def applications(self, layer: nn.Module, name: str, inputs: Sequence[Any], output: Any) -> int:
        """How many products each entry of a weight takes part in, in one forward pass.

        Args:
            layer: the layer.
            name: of the weight.
            inputs: what the forward pass was given.
            output: what it returned.
        """
        return output.numel() // self.units(layer)[1]

    def products(self, layer: nn.Module, inputs: Sequence[Any], output: Any) -> Iterator[tuple[Tensor, int]]:
        """Every weight that a forward pass of the layer itself multiplies by something, with its :meth:`applications`."""
        for name in self.weights(layer):
            yield getattr(layer, name), self.applications(layer, name, inputs, output)

    def refusal(self, layer: nn.Module) -> str | None:
        """Why the layer's weights cannot be drawn, and what to do instead; None where they can be."""
        return None

    # Making a layer smaller

    def unit_axis(self, layer: nn.Module, ndim: int) -> int | None:
        """The dimension that holds the units in an input or output of ``ndim`` dimensions.

        None where it has no batch, and where an input has no dimension for units.
        """
        return ndim - 1

    def matrix(self, layer: nn.Module) -> Tensor | None:
        """The factors ``(output units, input units, kernel positions)`` of the inputs in the outputs.

        Returns:
            The factors, or None where the output is not the sum of such products and the bias.
        """
        weights = self.weights(layer)
        if len(weights) != 1 or not self.is_dense(layer):
            return None
        ((name, axes),) = weights.items()
        weight = cast(Tensor, getattr(layer, name))
        weight = weight.movedim((axes.index("out"), axes.index("in")), (0, 1))
        return weight.reshape(*weight.shape[:2], -1)

    def is_uniform(self, layer: nn.Module) -> bool:
        """Whether a constant input adds the same number at every position of the output: no zeros are padded, for example."""
        return True

    def take_sizes(self, layer: nn.Module) -> None:
        """Set the attributes of a layer that hold sizes to those of its tensors, which have become smaller."""
        name, axes = next(iter(self.weights(layer).items()))
        for attribute, axis in zip(self.sizes, ("in", "out"), strict=True):
            setattr(layer, attribute, getattr(layer, name).shape[axes.index(axis)])

    # Files

    def arguments(self, layer: nn.Module) -> dict[str, Any]:
        """The arguments, as JSON holds them, from which the layer's class makes a layer of the same sizes."""
        return constructor_arguments(layer)

    def growth(self, layer: nn.Module) -> int:
        """Return an upper bound on the output positions per input position; it limits what a stranger's file can ask for."""
        return 1


class FixedUnitsKind(LayerKind):
    """The base class of kinds whose units stay as they are, and whose layers do not stand in ``nn.Sequential``.

    Their output is not a linear map of one input, or they have several inputs or outputs.
    """

    is_described: bool = False

    def unit_axis(self, layer: nn.Module, ndim: int) -> int | None:
        return None

    def matrix(self, layer: nn.Module) -> Tensor | None:
        return None
