"""A pruned network made faster as it is: layers that compute with the non-zeros only."""

from pyro_vd.runtime.sparsify import sparsify_runtime

__all__ = ["sparsify_runtime"]
