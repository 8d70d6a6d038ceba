"""Sparse execution: a pruned network whose layers compute with the non-zeros only, where that is faster."""

from pyro_vd.runtime.sparsify import sparsify_runtime

__all__ = ["sparsify_runtime"]
