"""Functions that are linear in a weight with independent entries, so that their output can be drawn in place of the weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class UnitFactors(Protocol):
    """Random factors of a weight's inputs."""

    def at_places(self, places: torch.Size) -> Tensor:
        """Draw a factor for every input at each of these places, the first dimension of which is that of the examples.

        Returns:
            The factors, ``(*places, inputs)``, or with a 1 in place of dimensions along which they are the same.
        """

    def of_inputs(self, numbers: Tensor) -> Tensor:
        """Draw the factors of the inputs with these numbers, in their shape; dimension 0 is that of the examples."""


@dataclass(frozen=True)
class LinearMap:
    """A function whose output local reparameterization may draw, in place of drawing the weight.

    Its output must be a sum of products of an input and an entry of the weight, no entry twice in one sum, plus a bias. It must
    hand over to ``__torch_function__``, as all of torch's functions do (:func:`torch.overrides.handle_torch_function`). A
    function of another form, such as a look-up, is described by a subclass with :meth:`variance` and :meth:`example_noise` of
    its own.

    Attributes:
        function: the function, such as ``torch.nn.functional.linear``.
        arguments: the names of its arguments by position.
        spatial: how many dimensions for positions stand at the end of its input and output, after the units, as in a
            convolution. None where the units stand last, and all dimensions between the batch and them are for positions.
        inputs: the names of the arguments that are multiplied by the weight, and by each other.
        input_axis: the dimension of the weight that holds the units of the first input; None where a factor per unit and
            example cannot be put on them.
        weight: the name of the argument that is the weight.
        bias: the name of the argument that is added to the output; None where there is none.
        tells_examples_apart: whether dimension 0 of the inputs is that of the examples. Where it may be that of all positions
            of all examples, noise per example is that of one weight, drawn for the whole batch.
    """

    function: Callable[..., Tensor]
    arguments: tuple[str, ...] = ("input", "weight", "bias")
    spatial: int | None = None
    inputs: tuple[str, ...] = ("input",)
    input_axis: int | None = 1
    weight: str = "weight"
    bias: str | None = "bias"
    tells_examples_apart: bool = True

    def by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name."""
        return {**dict(zip(self.arguments, args, strict=False)), **kwargs}

    def roles(self, arguments: Mapping[str, Any]) -> tuple[Any, Any, list[Any]]:
        """The weight, the bias and the inputs among the arguments of a call, by name."""
        bias = None if self.bias is None else arguments.get(self.bias)
        return arguments[self.weight], bias, [arguments[name] for name in self.inputs]

    def applies(self, arguments: Mapping[str, Any]) -> bool:
        """Whether the function is linear in the weight with these arguments."""
        return True

    def output(self, arguments: Mapping[str, Any], weight: Tensor) -> Tensor:
        """The output for a weight."""
        return self.function(**{**arguments, self.weight: weight})

    def variance(self, arguments: Mapping[str, Any], variance: Tensor) -> Tensor:
        """The variance of the output if the entries of the weight are independent and have this ``variance``."""
        squares = {name: arguments[name].square() for name in self.inputs}
        return self.output({**self.without_bias(arguments), **squares}, variance)

    def unit_output(self, arguments: Mapping[str, Any], weight: Tensor, factors: UnitFactors) -> Tensor:
        """The output for a weight whose inputs are each multiplied by a factor, which is drawn anew for each example.

        Args:
            arguments: those of the call by name.
            weight: without the factors.
            factors: draws the factors.
        """
        x, spatial = arguments[self.inputs[0]], self.spatial or 0
        z = factors.at_places(x.shape[: x.ndim - 1 - spatial])
        z = z.reshape(*z.shape, *(1 for _ in range(spatial)))
        return self.output({**arguments, self.inputs[0]: x * z.to(x.dtype)}, weight)

    def serves_one_position(self, output: Tensor) -> bool:
        """Whether each example has only one position in the output."""
        return output.ndim <= 2 if self.spatial is None else output.shape[-self.spatial :].numel() == 1

    def example_noise(self, arguments: Mapping[str, Any], std: Tensor) -> Tensor:
        r"""Draw the output's deviation f(x; σ∘ε) for one ε ~ N(0, 1) per weight, with random signs per example (Flipout).

        The deviation of an example is s_out ∘ f(s_in ∘ x; σ∘ε), with one random sign per input channel and per output channel,
        shared by all its positions (Wen 2018, arXiv 1803.04386, section 3.1). It equals f(x; σ∘ε′) with ε′ = ε ∘ (s_out s_inᵀ),
        and ε′ has the distribution of ε. So the deviation of each example is exactly that of a drawn weight, and the deviations
        of two examples are uncorrelated, though not independent.

        Args:
            arguments: those of the call by name; the inputs have examples in dimension 0.
            std: σ, in the shape of the weight.
        """
        noise = std * torch.randn_like(std)
        signed = {name: arguments[name] * self._signs(arguments[name]) for name in self.inputs}
        deviation = self.output({**self.without_bias(arguments), **signed}, noise)
        return deviation * self._signs(deviation)

    def without_bias(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments with None as the bias."""
        return dict(arguments) if self.bias is None else {**arguments, self.bias: None}

    def _signs(self, values: Tensor) -> Tensor:
        """Draw one random sign per example and feature, in a shape that broadcasts to ``values``, an input or output."""
        if self.spatial is None:
            shape = torch.Size((*values.shape[:-1][:1], *(1 for _ in values.shape[1:-1]), values.shape[-1]))
        else:  # (batch, channels, …) or (channels, …)
            shape = torch.Size((*values.shape[: -self.spatial], *(1 for _ in range(self.spatial))))
        return torch.empty(shape, dtype=values.dtype, device=values.device).bernoulli_().mul_(2).sub_(1)
