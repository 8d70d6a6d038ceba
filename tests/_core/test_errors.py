"""Errors carry what was given as data, also through a process pool, which pickles them."""

from __future__ import annotations

import copy
import pickle

import pytest

from pyro_vd import InputError
from pyro_vd._core.errors import MissingPackageError


@pytest.mark.parametrize(
    "error",
    [
        InputError("broken"),
        InputError(name="lr", value=-1, allowed="a number > 0"),
        InputError("no folder", name="out", value=None),
        MissingPackageError("plots", ["matplotlib", "pillow"], "pip install 'pyro_vd[plots]'"),
    ],
)
def test_they_can_be_copied_and_pickled(error: InputError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error)
        assert (str(again), again.name, again.value, again.has_value, again.allowed) == (
            str(error),
            error.name,
            error.value,
            error.has_value,
            error.allowed,
        )


def test_the_message_is_made_of_the_fields() -> None:
    assert str(InputError(name="lr", value=-1, allowed="a number > 0")) == "lr (=-1) must be a number > 0"
    assert InputError("x").has_value is False
    assert InputError("x", value=None).has_value is True
