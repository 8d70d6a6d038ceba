"""Whether a network has learnt anything, judged by held-out data."""

from __future__ import annotations

import torch
from torch import nn

from pyro_vd.data.dataset import Arrays
from pyro_vd.evaluation.checked_batches import CheckedBatches
from pyro_vd.evaluation.observations import Observed
from pyro_vd.evaluation.paired import paired_test
from pyro_vd.evaluation.score import ERROR, RMSE
from pyro_vd.evaluation.standard_error import Losses, losses_in
from pyro_vd.networks.inputs import num_examples, rows

_MOST = {ERROR: 0.75, RMSE: 0.9}
"""By score, the mean loss of a network that has learnt something, as a share of that of guessing, at most.

A network with random weights is not at 1: each class has, by chance, an output of its own.
"""
_CLEAR = 0.01
"""The largest p-value of the difference from guessing, for other losses, which may be negative."""


def looks_untrained(net: nn.Module, data: Arrays | CheckedBatches, likelihood: Observed | None, losses: Losses) -> str | None:
    """Return a sentence where a network predicts hardly better than it does from the inputs of other examples; else None.

    Predictions for inputs that are dealt out anew keep their distribution, and have nothing to do with the observations: this
    is the error of guessing, whatever is observed, and however rare some of the classes are. Every example gets the input of
    another one; where each batch is a single example, there is none, and nothing can be said.

    Args:
        net: the network.
        data: held-out data, or batches of them, within which inputs are dealt out.
        likelihood: of the observations.
        losses: those of the network on the data.
    """
    generator = torch.Generator().manual_seed(0)
    sizes: list[int] = []

    def dealt(pair: Arrays) -> Arrays:
        x, y = pair
        sizes.append(num_examples(x))
        order = torch.randperm(sizes[-1], generator=generator)
        return rows(x, order.roll(1)[order.argsort()]), y  # in a circle, so that nobody keeps its own

    guessed = losses_in(net, (dealt(each) for each in (data if isinstance(data, CheckedBatches) else [data])), likelihood)
    if max(sizes, default=1) == 1:
        return None
    if (most := _MOST.get(losses.name)) is not None:
        has_learnt = losses.mean < most * guessed.mean
    else:
        has_learnt = losses.mean < guessed.mean and paired_test(guessed, losses).p_value < _CLEAR
    if has_learnt:
        return None
    return (
        f"The given network predicts hardly better than by guessing: validation {losses.score}, and {guessed.score} where each "
        "prediction is for the input of another example. Has it been trained, and are the data those that it was trained on?"
    )
