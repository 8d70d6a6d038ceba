"""Batches that a training reads as it goes: brought into the form of the first one, and checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pyro_vd._core.errors import InputError, NonFiniteError, ProcessError
from pyro_vd.data.dataset import Arrays, as_tuples
from pyro_vd.data.reading import is_death, refuse_batch
from pyro_vd.models.data_checks import check_data
from pyro_vd.networks.inputs import num_examples, rows

if TYPE_CHECKING:
    from pyro_vd.models.bayesian import BayesianNetwork


class BatchChecks:
    """Checks batches of the first epoch completely, and those of later epochs where a step fails: steps stay fast.

    Args:
        model: the model that is trained.
        y: observations as :func:`~pyro_vd.models.data_checks.check_data` has returned them for the first batch.
    """

    def __init__(self, model: BayesianNetwork, y: Any) -> None:
        self._model, self._like = model, rows(y, slice(0))
        self.checks_all: bool = True

    def taken(self, where: str, x: Any, y: Any) -> Arrays:
        """Return a batch in the form that the network and the likelihood take; ``where`` names it in errors.

        Raises:
            InputError: in the first epoch, see :func:`~pyro_vd.models.data_checks.check_data`.
        """
        x, y = as_tuples(x), as_tuples(y)
        return self.check(where, x, y) if self.checks_all else (x, _alike(y, self._like))

    def check(self, where: str, x: Any, y: Any) -> Arrays:
        """Return a batch after a complete check.

        Raises:
            InputError: see :func:`~pyro_vd.models.data_checks.check_data`.
        """
        return check_data(where, (x, y), self._model, num_examples(x, where))

    @contextmanager
    def explained(self, where: str, x: Any, y: Any) -> Iterator[None]:
        """Look for the reason of an error inside in the batch; an error that it does not explain goes on as it is.

        Raises:
            InputError: the batch does not fit, or a worker process of its loader has died.
        """
        try:
            yield
        except (InputError, NonFiniteError, ProcessError):
            raise
        except Exception as error:
            if is_death(error):
                refuse_batch(where, error)
            try:
                self.check(where, x, y)
            except InputError as reason:
                raise reason from error
            error.add_note(f"It was raised in the step of {where}.")
            raise


def _alike(y: Any, like: Any) -> Any:
    """Observations in the types of those of the first batch, and columns ``(n, 1)`` as ``(n,)`` where those are."""
    if isinstance(y, Mapping):
        return {key: _alike(part, like[key]) if isinstance(like, Mapping) and key in like else part for key, part in y.items()}
    if not isinstance(y, Tensor) or not isinstance(like, Tensor):
        return y
    return (y[:, 0] if like.ndim == 1 and y.ndim == 2 and y.shape[1] == 1 else y).to(like.dtype)
