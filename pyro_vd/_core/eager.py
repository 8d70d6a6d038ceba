"""``torch.compile`` kept out of what draws: a compiled graph would repeat the first draw of a weight as a constant."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

import torch

F = TypeVar("F", bound=Callable[..., Any])


def uncompiled(function: F) -> F:
    """Run ``function``, and all that it calls, as it is, also where ``torch.compile`` compiles its caller or what it calls."""
    disabled: list[Callable[..., Any]] = []

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if "torch._dynamo" not in sys.modules:  # nothing can have been compiled, and importing it takes seconds
            return function(*args, **kwargs)
        if not disabled:
            import torch._dynamo

            disabled.append(torch._dynamo.disable(function))
        return disabled[0](*args, **kwargs)

    run._torchdynamo_disable = True  # type: ignore[attr-defined]
    return cast(F, run)


@contextmanager
def eagerly() -> Iterator[None]:
    """What was given to ``torch.compile`` before, such as a function that a network calls, runs as it is."""
    if "torch._dynamo" not in sys.modules:
        yield
    else:
        with torch.compiler.set_stance("force_eager"):
            yield
