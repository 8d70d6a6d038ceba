"""A network's graph that was read from a file, called like any network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from pyro_vd._core.errors import InputError
from pyro_vd._core.messages import one_line
from pyro_vd.export.named_tensors import INPUT, named_inputs


@dataclass(frozen=True)
class InputForm:
    """What an input of a file must be.

    Attributes:
        shape: None where any size is allowed.
        dtype: None if it is not known.
    """

    shape: tuple[int | None, ...]
    dtype: torch.dtype | None

    @classmethod
    def of(cls, shape: Iterable[Any], dtype: torch.dtype | None) -> Self:
        """The form of an input of this shape, in which a size that is not an integer may be any."""
        return cls(tuple(size if isinstance(size, int) else None for size in shape), dtype)

    def fits(self, x: Tensor) -> bool:
        """Whether a tensor has this shape and type."""
        sizes = zip(self.shape, x.shape, strict=False)
        return x.ndim == len(self.shape) and all(w in (None, size) for w, size in sizes) and self.dtype in (None, x.dtype)

    def __str__(self) -> str:
        return f"({', '.join('any' if size is None else str(size) for size in self.shape)}), {self.dtype}"


class FileNetwork(nn.Module):
    """A graph that was read from a file. It shows no parameters and is always in evaluation mode.

    Args:
        where: the file, for messages.
        run: computes the outputs for inputs by name, in the order of ``inputs``.
        inputs: what the inputs must be, by the names of :func:`~pyro_vd.export.named_tensors.named_inputs`.
    """

    def __init__(self, where: str, run: Callable[[dict[str, Tensor]], Any], inputs: Mapping[str, InputForm]) -> None:
        super().__init__()
        self.where: str = where
        self.run: Callable[[dict[str, Tensor]], Any] = run
        self.inputs: dict[str, InputForm] = dict(inputs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for a batch, on the CPU: a tensor, a tuple, or a dictionary by name.

        Args:
            args: the inputs, if the file was made for a tensor or a tuple.
            kwargs: the inputs, if the file was made for a mapping.

        Raises:
            InputError: an input is missing or not a tensor, or has another shape or type than the file was made for.
        """
        tensors = named_inputs(kwargs or args)
        if INPUT in self.inputs and len(args) == 1 and not isinstance(x := args[0], Tensor):
            raise InputError(f"inputs are a {type(x).__name__}; they must be a tensor", name="x", value=x, allowed="a tensor")
        if tensors.keys() != self.inputs.keys():
            found, wanted = ", ".join(tensors) or "no tensor", ", ".join(self.inputs)
            message = f"inputs do not fit the network of {self.where}: they are {found}; they must be {wanted}"
            raise InputError(message, name="x", value=list(tensors), allowed=wanted)
        for name, tensor in tensors.items():
            if not self.inputs[name].fits(tensor):
                raise self._refusal(name, tensor, f"it takes {self.inputs[name]}", str(self.inputs[name]))
        try:
            return self.run({name: tensors[name] for name in self.inputs})
        except Exception as error:  # the errors of what runs graphs have no common type
            name, tensor = next(iter(tensors.items()))
            raise self._refusal(name, tensor, one_line(error)[:200]) from error

    def _refusal(self, name: str, x: Tensor, why: str, allowed: str | None = None) -> InputError:
        what, given = ("inputs", "x") if name == INPUT else (f"inputs {name}", name), (tuple(x.shape), x.dtype)
        message = f"{what[0]} of shape {given[0]}, {given[1]}, do not fit the network of {self.where}: {why}"
        return InputError(message, name=what[1], value=given, allowed=allowed)
