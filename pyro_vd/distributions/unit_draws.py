"""Factors z that several posteriors share: each is counted once, and is the same wherever it is used in a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from pyro_vd._core.errors import UsedAgainError


class UnitDraws:
    """The draws of z, ``(units,)``, in one pass: one per example, or one in all where some weight needs z for the whole pass.

    Args:
        draw: draws z, ``(*shape, units)``, for a shape.
        name: of the factors.
        whole: the names of the factors that are drawn once per pass; grows where one draw per example was not enough.
    """

    def __init__(self, draw: Callable[[tuple[int, ...]], Tensor], name: str, whole: set[str]) -> None:
        self._draw, self._name, self._whole = draw, name, whole
        self._drawn: Tensor | None = None

    def of_pass(self) -> Tensor:
        """Return z for the whole pass, ``(units,)``.

        Raises:
            UsedAgainError: z was drawn per example in this pass. The next pass draws it once.
        """
        if self._drawn is None:
            self._drawn = self._draw(())
        if self._drawn.ndim > 1:
            self._start_again()
        return self._drawn

    def of_examples(self, count: int) -> Tensor:
        """Return z for each of these examples, ``(count, units)``, or ``(1, units)`` where it is drawn once per pass.

        Raises:
            UsedAgainError: z was drawn for another number of examples in this pass. The next pass draws it once.
        """
        if self._drawn is None:
            self._drawn = self._draw(() if self._name in self._whole else (count,))
        if self._drawn.ndim == 1:
            return self._drawn[None]
        if len(self._drawn) != count:
            self._start_again()
        return self._drawn

    def _start_again(self) -> None:
        self._drawn = None
        self._whole.add(self._name)
        raise UsedAgainError(
            f"the factors shared with {self._name!r} were drawn for each example, and are used otherwise in the same pass; "
            "repeat the pass, in which they will be drawn once",
            name=self._name,
        )


@dataclass
class SharedUnits:
    """What one of the posteriors that share factors knows of the others.

    Attributes:
        is_counted: whether the KL of the factors is part of this posterior's.
        left: returns ``(units,)``, True for the factors with remaining weights in any of the posteriors; or None if all have
            some.
        draws: the draws of a pass; None where every draw is a new one.
    """

    is_counted: bool
    left: Callable[[], Tensor | None]
    draws: UnitDraws | None = None
