"""``torch.compile`` kept out of what draws: a compiled graph would repeat the first draw of a weight as a constant."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from torch import nn

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


def without_compilation(net: nn.Module) -> nn.Module:
    """Give the network that ``torch.compile`` was given, with every module inside it that was compiled as it was before, in place."""
    net = _original(net)
    for module in net.modules():
        for name, child in module._modules.items():
            if child is not None:
                module._modules[name] = _original(child)
        if getattr(module, "_compiled_call_impl", None) is not None:
            module._compiled_call_impl = None
    return net


def _original(net: nn.Module) -> nn.Module:
    while (original := net._modules.get("_orig_mod")) is not None and type(net).__name__ == "OptimizedModule":
        net = original
    return net
