"""The data of a compression: what is trained on, what choices are made by, and what is measured at the end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from pyro_vd._core.errors import InputError
from pyro_vd.data.batches import DEFAULT_BATCH_SIZE
from pyro_vd.data.dataset import Arrays, Dataset
from pyro_vd.data.given import batches_from
from pyro_vd.evaluation.checked_batches import CheckedBatches
from pyro_vd.models.bayesian import BayesianNetwork
from pyro_vd.models.data_checks import check_data, check_held_out
from pyro_vd.networks.checks import dtype_of
from pyro_vd.networks.inputs import Inputs, num_examples, rows

logger: logging.Logger = logging.getLogger(__name__)

SHARE = 1 / 6
"""The share of the training data that is held out where no validation data are given."""
_EXAMPLES = 64
"""The most examples in :attr:`CompressData.example`."""


@dataclass(frozen=True)
class CompressData:
    """Checked data of a compression.

    Attributes:
        train: what :func:`~pyro_vd.fit` is given.
        validation: what choices are made by.
        test: what is measured at the end, if there are such data.
        steps: batches per epoch.
        example: a few inputs.
        chosen_by: what the validation data are, for a table.
        note: a sentence where validation data were split off, which was said.
        features, words: the names of the inputs, see :class:`~pyro_vd.Dataset`.
    """

    train: Any
    validation: Arrays | CheckedBatches
    test: Arrays | CheckedBatches | None
    steps: int
    example: Inputs
    chosen_by: str
    note: str | None
    features: tuple[str, ...] | None
    words: tuple[str, ...] | None


def compress_data(train: Any, validation: Any, test: Any, model: BayesianNetwork, batch_size: int | None) -> CompressData:
    """Check the data, and split validation data off where none are given.

    Raises:
        InputError: they do not fit the model, or data that are read batch by batch come without validation data.
    """
    features = words = None
    if isinstance(train, Dataset):
        test = train.test if test is None else test
        features, words = train.features, train.words
    chosen_by, note = "validation data, by which the network was chosen", None
    batches = batches_from(train, batch_size, dtype=dtype_of(model))
    if batches is None:
        train = check_data("training data", train, model, part="train")
        if validation is None:
            count, chosen_by = num_examples(train[0]), "training data that were held out, by which the network was chosen"
            train, validation = Dataset("training data", *train, *rows(train, slice(1))).split(SHARE)
            note = (
                f"No validation data are given: {num_examples(validation[0]):,} of the {count:,} training examples are held "
                "out to measure the error by which the network is chosen. The given network has probably learnt them, so that "
                "its own error there is too low, and the compressed network looks worse than it is: better give validation "
                "data that the given network was not trained on."
            )
            logger.warning("%s", note)
        steps = -(-num_examples(train[0]) // (batch_size or DEFAULT_BATCH_SIZE))
    else:
        steps = len(batches)
    if validation is None:
        allowed = "validation data: these training data are read batch by batch, and are not split"
        raise InputError(name="validation", value=None, allowed=allowed)
    held_out = check_held_out("validation data", validation, model)
    measured = None if test is None else check_held_out("test data", test, model)
    first = next(iter(held_out))[0] if isinstance(held_out, CheckedBatches) else held_out[0]
    example = rows(first, slice(_EXAMPLES))
    return CompressData(train, held_out, measured, steps, example, chosen_by, note, features, words)
