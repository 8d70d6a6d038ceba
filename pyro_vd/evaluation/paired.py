"""Whether a network is worse than another one on the same examples: exact for classes, by the mean of losses otherwise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pyro_vd.evaluation.score import RMSE
from pyro_vd.evaluation.standard_error import Losses

_ONE_SIDED = 1.644854
"""A rise is told from none, one-sided at 5 %, where it is at least so many standard errors."""


@dataclass(frozen=True)
class PairedTest:
    """The difference of two networks on the same examples, and how likely one so large is where they are equally good.

    Attributes:
        p_value: two-sided; of the exact test of McNemar (1947) where every example has one class, otherwise of the mean
            difference of losses, which is taken as normal.
        standard_error: of the rise of the mean loss, over other examples.
        only_before: the number of examples that the first network alone has wrong; None where the test is not McNemar's.
        only_after: the number that the second network alone has wrong.
    """

    p_value: float
    standard_error: float
    only_before: int | None = None
    only_after: int | None = None

    @property
    def is_clear(self) -> bool:
        """Whether the difference is taken for one: p < 0.05."""
        return self.p_value < 0.05

    def __str__(self) -> str:
        name = "mean difference of losses" if self.only_before is None else "McNemar's exact test"
        counts = "" if self.only_before is None else f", {self.only_after} examples newly wrong, {self.only_before} newly right"
        return f"{name}: p = {self.p_value:.3g}{counts}"


def paired_test(before: Losses, after: Losses) -> PairedTest:
    """Compare the losses of two networks on the same examples."""
    rise = Losses(before.name, after.sums - before.sums, before.counts)
    error = math.sqrt(rise.variance)
    if before.is_binary and after.is_binary:
        better, worse = (int((rise.sums == sign).sum()) for sign in (-1, 1))
        return PairedTest(mcnemar(better, worse), error, better, worse)
    return PairedTest(math.erfc(abs(rise.mean) / error / math.sqrt(2)) if error else 1.0, error)


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    Under the hypothesis that both networks are equally good, each example that one of them alone has wrong is equally likely to
    be wrong in either: the numbers are binomial with probability ½.

    Args:
        only_first: how many examples the first network alone has wrong.
        only_second: how many the second network alone has wrong.
    """
    total, fewer = only_first + only_second, min(only_first, only_second)
    term = tail = 1
    for count in range(fewer):
        term = term * (total - count) // (count + 1)
        tail += term
    return min(1.0, 2 * tail / 2**total)  # whole numbers, so that none is rounded to 0


def too_few_examples(before: Losses, standard_error: float | None, rise: float) -> str | None:
    """Return a sentence where the examples cannot tell a rise of the score from none; None where they can, or it is not known.

    Args:
        before: the losses of the network that the other one is compared with.
        standard_error: of the rise of the mean loss. None, before there is another network, takes as many examples to be wrong
            in one of the two alone as are wrong in the first; of other losses than those of classes nothing is known then.
        rise: that is to be told: for classes a difference of shares, otherwise a share of the score.
    """
    count, mean = len(before.sums), before.mean
    if standard_error is None:
        if not before.is_binary:
            return None
        standard_error = math.sqrt(max(mean, 1 / count) / count)
    # A share of the RMSE is about twice that share of the mean square.
    scale = 1.0 if before.score.is_share else (2 if before.name == RMSE else 1) * abs(mean)
    told = _ONE_SIDED * standard_error / scale if scale else math.inf
    if told <= rise or (rise and not math.isfinite(told)):  # a share of a score of 0 is nothing that could be told
        return None
    if not rise:
        return f"no number of examples, here {count:,}, can tell that the error does not rise at all"
    return (
        f"{count:,} validation examples tell a rise of the error from none only where it is {100 * told:.2g} % or more; for a "
        f"rise of {100 * rise:.2g} %, max_error_rise, about {math.ceil(count * (told / rise) ** 2):,} are needed"
    )
