"""The two factors of a product of tensors, with their axes in the order of a matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from pyro_vd.compaction.values import Value


@dataclass(frozen=True)
class Factors:
    """Two tensors ``(…, i, c)`` and ``(…, c, j)``, and what becomes of their product ``(…, i, j)``.

    Attributes:
        first, second: the tensors.
        summed: the axis of the first one, as it is given to the operation, over which is summed.
        order: the axis of the product for each axis of the output of the operation; None for the same ones.
    """

    first: Value
    second: Value
    summed: int = -1
    order: tuple[int, ...] | None = None

    def aligned(self) -> tuple[Value, Value]:
        """Both tensors with the same number of axes."""
        rank = max(len(self.first.shape), len(self.second.shape))
        return _of_rank(self.first, rank), _of_rank(self.second, rank)

    def restored(self, tensor: Tensor) -> Tensor:
        """A product with its axes as the operation gives them."""
        return tensor if self.order is None else tensor.permute(self.order)

    def axis_in_product(self, axis: int | None) -> int | None:
        """The axis of the product, −1 or −2, that an axis of the output, counted from its end, stands for; else None."""
        if axis is None:
            return None
        if self.order is not None:
            axis = self.order[axis] - len(self.order)
        return axis if axis in (-1, -2) else None


def factors(equation: str, first: Value, second: Value) -> Factors | None:
    """The factors of a sum of products; None where several axes are summed over, or an axis is used in another way."""
    left, _, out = equation.replace(" ", "").partition("->")
    one, _, other = left.partition(",")
    summed = [letter for letter in one if letter in other and letter not in out]
    own = [[letter for letter in out if letter in mine and letter not in its] for mine, its in ((one, other), (other, one))]
    used = sorted({*one, *other})
    plain = "." not in left and all(len(set(part)) == len(part) for part in (one, other, out))
    if not plain or used != sorted({*out, *summed}) or len(summed) != 1 or not all(own):
        return None
    rows, columns = own[0][-1], own[1][-1]
    batch = [letter for letter in out if letter not in (rows, columns)]
    order = [*batch, rows, columns]
    return Factors(
        _in_order(first, one, [*batch, rows, summed[0]]),
        _in_order(second, other, [*batch, summed[0], columns]),
        one.index(summed[0]) - len(one),
        tuple(order.index(letter) for letter in out),
    )


def _in_order(value: Value, given: str, wanted: Sequence[str]) -> Value:
    """A tensor with its axes in another order, and an axis of size 1 for each letter that it lacks."""
    own = [given.index(letter) for letter in wanted if letter in given]

    def move(tensor: Tensor) -> Tensor:
        moved = tensor.permute(own)
        for place, letter in enumerate(wanted):
            if letter not in given:
                moved = moved.unsqueeze(place)
        return moved

    return value.moved(move)


def _of_rank(value: Value, rank: int) -> Value:
    return value.moved(lambda tensor: tensor[(None,) * (rank - tensor.ndim)])
