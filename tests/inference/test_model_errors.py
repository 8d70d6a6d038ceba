"""What a model or a guide raises reaches the user as it is, type and words, without Pyro's account of the trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pyro.infer import SVI
from pyro.optim import Adam
from torch import Tensor

from pyro_vd import InputError, VariationalDropout, VariationalDropoutELBO, evaluate, fit, to_inference_data
from pyro_vd._core.messages import one_line
from pyro_vd.models import MLP
from pyro_vd.posterior import predictive

X, Y = torch.randn(8, 4, generator=torch.Generator().manual_seed(1)), torch.arange(8) % 3


class TwoArgumentsError(ValueError):
    """An error that is not made of one text."""

    def __init__(self, what: str, where: int) -> None:
        super().__init__(what, where)


ERRORS: list[Exception] = [
    RuntimeError("the one"),
    ValueError("the one"),
    KeyError("the one"),
    TwoArgumentsError("the one", 3),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "the one"),
]


class Model(MLP):
    """A model that fails in its forward pass once it is told to."""

    error: Exception | None = None

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        output = super().forward(x, y)
        if self.error is not None:
            raise self.error
        return output


class Guide(VariationalDropout):
    """The same of a guide."""

    error: Exception | None = None

    def forward(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        drawn = super().forward(*args, **kwargs)
        if self.error is not None:
            raise self.error
        return drawn


ELBO = VariationalDropoutELBO()
WAYS: dict[str, Callable[[Model, Guide], Any]] = {
    "elbo": lambda model, guide: ELBO(model, guide)(X, Y),
    "svi": lambda model, guide: SVI(model, guide, Adam({}), loss=ELBO).step(X, Y),
    "fit": lambda model, guide: fit(guide, (X, Y), epochs=1, progress=False),
    "evaluate": lambda model, guide: evaluate(guide, (X, Y)),
    "predictive": lambda model, guide: predictive(guide, X),
    "arviz": lambda model, guide: to_inference_data(guide, (X, Y), num_samples=2),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["model", "guide"])
def test_an_error_keeps_its_type_and_words(way: str, error: Exception, where: str) -> None:
    model = Model((4, 5, 3))
    guide = Guide(model)
    if where == "model":
        model.error = error
    else:
        guide.error = error
    with pytest.raises((type(error), InputError)) as raised:
        WAYS[way](model, guide)
    assert "Trace Shapes" not in str(raised.value)
    if (way, where) == ("fit", "model"):  # a copy of the model is tried on the batches first
        assert one_line(error) in str(raised.value)
        assert type(raised.value.__cause__) is type(error)
    else:
        assert raised.value is error
