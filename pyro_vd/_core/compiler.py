"""Whether this machine has what ``torch.compile`` needs."""

from __future__ import annotations

import torch

from pyro_vd._core.errors import InputError


def check_compiler(name: str, device: torch.device) -> None:
    """Refuse to compile where there is no compiler for this device.

    Raises:
        InputError: a CPU without a C++ compiler, or a GPU without Triton; of the argument ``name``.
    """
    if device.type == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            get_cpp_compiler()
        except InvalidCxxCompiler:
            found, needed = False, "a C++ compiler: install g++ or clang++"
        else:
            found = True
    elif device.type == "cuda":
        from torch.utils._triton import has_triton

        found, needed = has_triton(), "Triton and a GPU of compute capability 7.0 or above: pip install triton"
    else:
        found, needed = False, "the CPU or a CUDA device"
    if not found:
        raise InputError(
            f"{name} (=True) needs {needed}; or train with {name}=False",
            name=name,
            value=True,
            allowed=f"False on {device}, where there is no compiler",
        )
